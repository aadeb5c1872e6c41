"""Embed rendered views once with a frozen image teacher.

    python -m lavis.models.teachers.embed_views --views data/bricks_views/views_4x128.zip
    CPU-sized: … --limit 100 --out /tmp/few.safetensors

Writes `<views>.conse.safetensors`: `image_embeds` float16 [N,V,E] in the space of the texts, and
`features` float16 [N,V,1280] of the network, for heads that are trained later. Its metadata name
the objects, the space and the SHA-256 of the views; a file of the same views is kept.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from lavis.common.errors import PointLanguageError
from lavis.common.files import file_sha256
from lavis.datasets.rendering.view_store import ViewStore
from lavis.models.teachers.image import ConseTeacher
from lavis.models.teachers.sentence import SentenceTeacher

BATCH = 8  # objects


def batches(store: ViewStore, ids: Sequence[str]) -> Iterator[Tensor]:
    """Yield the views of objects: float32 [B*V,3,H,W] in [0,1]."""
    for start in tqdm(range(0, len(ids), BATCH), desc="Embedding views", unit="batch"):
        views = [torch.from_numpy(store.load(name)) for name in ids[start : start + BATCH]]
        yield torch.cat(views).permute(0, 3, 1, 2).float() / 255


@torch.inference_mode()
def embed_views(views: Path, out: Path, teacher: ConseTeacher, limit: int | None = None) -> Path:
    """Embed a file of views; nothing is done where `out` holds those of the same views.

    Raises:
        DataError: the views cannot be read.
    """
    store, digest = ViewStore(views), file_sha256(views)
    ids = store.ids[:limit]
    facts = {"ids": json.dumps(ids), "space": teacher.space, "views_sha256": digest}
    if _metadata(out) == facts:
        return out
    features = torch.cat([teacher.network(images) for images in batches(store, ids)])
    embeds = torch.cat([teacher.from_features(part) for part in features.split(1024)])
    tensors = {"image_embeds": embeds, "features": features}
    kept = {n: t.view(len(ids), store.num_views, -1).half() for n, t in tensors.items()}
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.partial")
    save_file({name: tensor.contiguous() for name, tensor in kept.items()}, partial, facts)
    os.chmod(partial, 0o644)  # safetensors makes it private
    os.replace(partial, out)
    return out


def _metadata(path: Path) -> dict[str, str] | None:
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            return file.metadata()
    except SafetensorError:
        return None  # damaged: written anew


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: 0 when the file is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--views", type=Path, required=True, help="file of rendered views")
    parser.add_argument("--out", type=Path, help="file to write (default: beside the views)")
    parser.add_argument("--text-teacher", default="minilm", help="whose space images enter")
    parser.add_argument("--limit", type=int, help="the first so many objects")
    options = parser.parse_args(arguments)
    out = options.out or options.views.with_suffix(".conse.safetensors")
    try:
        teacher = ConseTeacher(SentenceTeacher(options.text_teacher, key="--text-teacher"))
        embed_views(options.views, out, teacher, options.limit)
    except PointLanguageError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"Embeddings: {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
