"""Embed rendered views once with a frozen image teacher.

    python -m lavis.models.teachers.embed_views --views data/bricks_views/views_4x128.zip
    … --views data/bricks_views/views_4x128.zip --head data/bricks_views/head.safetensors
    … --views data/bricks_views/views_4x128.zip --teacher clip:/models/clip-vit-base-patch32
    CPU-sized: … --limit 100 --out /tmp/few.safetensors

Writes `<views>.conse.safetensors`: `image_embeds` float16 [N,V,E] in the space of the texts, and
`features` float16 [N,V,1280] of the network, for heads that are trained later. Its metadata name
the objects, the space and the SHA-256 of the views; a file of the same views is kept. With `--head`
(train_view_head.py) it is `<views>.head.safetensors`, and the features of the former are taken.
With `--teacher` (clip.py, imagebind.py) it is `<views>.<kind>.safetensors`, `image_embeds` alone;
the model then has the same `model.text_teacher`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from tqdm import tqdm

from lavis.common.command import command_parser, report_errors
from lavis.common.files import file_sha256
from lavis.datasets.rendering.view_store import ViewStore
from lavis.models.teachers.by_name import IMAGE_PREFIXES, image_text_teacher
from lavis.models.teachers.clip import ClipTeacher
from lavis.models.teachers.image import ConseTeacher, HeadTeacher
from lavis.models.teachers.imagebind import ImageBindTeacher
from lavis.models.teachers.sentence import SentenceTeacher
from lavis.models.weights.files import save_tensors

BATCH = 8  # objects
CONSE, HEAD = ".conse.safetensors", ".head.safetensors"


def batches(store: ViewStore, ids: Sequence[str]) -> Iterator[Tensor]:
    """Yield the views of objects: float32 [B*V,3,H,W] in [0,1]."""
    for start in tqdm(range(0, len(ids), BATCH), desc="Embedding views", unit="batch"):
        views = [torch.from_numpy(store.load(name)) for name in ids[start : start + BATCH]]
        yield torch.cat(views).permute(0, 3, 1, 2).float() / 255


@torch.inference_mode()
def embed_views(
    views: Path,
    out: Path,
    teacher: ConseTeacher | HeadTeacher | ClipTeacher | ImageBindTeacher,
    limit: int | None = None,
    head: Path | None = None,
) -> Path:
    """Embed a file of views; nothing is done where `out` holds those of the same views.

    Args:
        views: the file.
        out: the file to write.
        teacher: embeds them.
        limit: the first so many objects; None: all.
        head: the file of a `HeadTeacher`, whose hash is written down.

    Raises:
        DataError: the views cannot be read.
    """
    store, digest = ViewStore(views), file_sha256(views)
    ids = store.ids[:limit]
    facts = {"ids": json.dumps(ids), "space": teacher.space, "views_sha256": digest}
    facts |= {} if head is None else {"head_sha256": file_sha256(head)}
    if _metadata(out) == facts:
        return out
    if isinstance(teacher, ClipTeacher | ImageBindTeacher):
        parts = [teacher.embed_images(images).cpu() for images in batches(store, ids)]
        tensors = {"image_embeds": torch.cat(parts)}
    else:
        features = _known_features(views, facts)
        if features is None:
            features = torch.cat([teacher.network(images) for images in batches(store, ids)])
        if isinstance(teacher, HeadTeacher):
            embeds = teacher.of_objects(features.view(len(ids), store.num_views, -1), ids)
        else:
            embeds = torch.cat([teacher.from_features(part) for part in features.split(1024)])
        tensors = {"image_embeds": embeds, "features": features}
    kept = {n: t.view(len(ids), store.num_views, -1).half() for n, t in tensors.items()}
    save_tensors(out, kept, facts)
    return out


def _known_features(views: Path, facts: dict[str, str]) -> Tensor | None:
    """Return the features [N*V,1280] that ConSE's file has of the same views and objects."""
    path, same = views.with_suffix(CONSE), ("ids", "views_sha256")
    known = _metadata(path) or {}
    if "head_sha256" not in facts or any(known.get(key) != facts[key] for key in same):
        return None
    with safe_open(path, "pt") as file:
        return file.get_tensor("features").flatten(0, 1).float()


def _metadata(path: Path) -> dict[str, str] | None:
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            return file.metadata()
    except SafetensorError:
        return None  # damaged: written anew


@report_errors()
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: 0 when the file is there."""
    parser = command_parser(__doc__)
    parser.add_argument("--views", type=Path, required=True, help="file of rendered views")
    parser.add_argument("--out", type=Path, help="file to write (default: beside the views)")
    parser.add_argument("--text-teacher", default="minilm", help="whose space images enter")
    parser.add_argument("--head", type=Path, help="trained head instead of ConSE")
    parser.add_argument("--teacher", help="clip:, siglip:, open_clip: or imagebind: and a name")
    parser.add_argument("--limit", type=int, help="the first so many objects")
    options = parser.parse_args(arguments)
    head = options.head
    named = options.teacher
    if named and (head or not named.startswith(IMAGE_PREFIXES)):
        parser.error(
            f"--teacher begins with one of {', '.join(IMAGE_PREFIXES)}, and takes no --head"
        )
    suffix = f".{named.partition(':')[0]}.safetensors" if named else HEAD if head else CONSE
    out = options.out or options.views.with_suffix(suffix)
    teacher: ConseTeacher | HeadTeacher | ClipTeacher | ImageBindTeacher
    if named:
        teacher = image_text_teacher(named, key="--teacher", cache_size=0)
    else:
        teacher = (
            HeadTeacher(head)
            if head
            else ConseTeacher(SentenceTeacher(options.text_teacher, key="--text-teacher"))
        )
    embed_views(options.views, out, teacher, options.limit, head)
    print(f"Embeddings: {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
