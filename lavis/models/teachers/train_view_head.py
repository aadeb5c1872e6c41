"""Train the head of the image teacher on views of the training split alone.

    python -m lavis.models.teachers.train_view_head
    … --embeds data/bricks_views/views_4x128.conse.safetensors \
        data/furniture_views/views_4x128.conse.safetensors \
      --annotations data/bricks/annotations/caption_train.json \
        data/furniture/annotations/caption_train.json --out data/views_head.safetensors
    … --folds 3      # and heads without a third of the objects, for the views of that third
    CPU-sized: … --epochs 1 --out /tmp/head.safetensors

Reads the features that embed_views.py wrote, and contrasts each object's views (one at random a
step) with its texts in the space of the texts (57 s on one busy core): its description, or its
captions where it has a list of them, and its category. Then
`python -m lavis.models.teachers.embed_views --views … --head <out>` embeds every object with it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lavis.common.command import command_parser, positive, report_errors
from lavis.common.errors import DataError
from lavis.common.files import file_sha256
from lavis.common.utils import get_cache_path
from lavis.datasets.datasets.annotations import Entry, read_annotation
from lavis.datasets.download_scripts.bricks_text import stable_hash
from lavis.models.teachers.head import FOLD_OF, train_head, with_folds
from lavis.models.teachers.sentence import SentenceTeacher
from lavis.models.weights.files import save_tensors

EMBEDS, TRAIN = (
    "bricks_views/views_4x128.conse.safetensors",
    "bricks/annotations/caption_train.json",
)


def read_features(path: Path) -> tuple[Tensor, list[str]]:
    """Return features float32 [N,V,1280] and the names of N objects.

    Raises:
        DataError: no such file, a damaged one, or one without features.
    """
    try:
        with safe_open(path, "pt") as file:
            return file.get_tensor("features").float(), json.loads(file.metadata()["ids"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        what, fix = "the features of views cannot be read", "python -m …teachers.embed_views"
        raise DataError(what, where=str(path), got=repr(error), fix=fix) from error


def texts_of(record: Entry) -> list[str]:
    """Return the texts of an object: several captions or the description, and the category."""
    captions = record.get("caption")
    texts = captions if isinstance(captions, list) else [record.get("description")]
    return [str(text) for text in (*texts, record.get("category")) if str(text or "").strip()]


def training_pairs(records: Sequence[Entry], ids: Sequence[str]) -> list[tuple[int, str]]:
    """Return (row of the features, text) of every training object with views.

    Raises:
        DataError: a record of another split, or no pair.
    """
    other = [record["object_id"] for record in records if record.get("split", "train") != "train"]
    if other:
        what, got = "the head is trained on the training split alone", f"objects {other[:5]}"
        raise DataError(what, where="--annotations", got=got)
    row_of = {name: row for row, name in enumerate(ids)}
    known = [record for record in records if record["object_id"] in row_of]
    pairs = [(row_of[r["object_id"]], text) for r in known for text in texts_of(r)]
    if not pairs:
        raise DataError("no training object has views and a text", where="--embeds")
    return pairs


def folds_of(records: Sequence[Entry], count: int) -> dict[str, int]:
    """Divide training objects into parts by a hash of their group: {object id: part}."""
    groups = {str(r["object_id"]): str(r.get("group") or r["object_id"]) for r in records}
    return {name: stable_hash(f"fold:{group}") % count for name, group in groups.items()}


def read_pairs(
    embeds: Sequence[Path], annotations: Sequence[Path]
) -> tuple[Tensor, list[tuple[int, str]], list[str]]:
    """Return the features [N,V,1280] of all files, their (row, text), and the N names.

    Raises:
        DataError: see `read_features` and `training_pairs`, or files of another number of views.
    """
    parts: list[Tensor] = []
    pairs: list[tuple[int, str]] = []
    names: list[str] = []
    for path, training in zip(embeds, annotations, strict=True):
        features, ids = read_features(path)
        if parts and features.shape[1:] != parts[0].shape[1:]:
            what, got = "the files of features differ in shape", list(features.shape)
            expected = f"[N,{parts[0].shape[1]},{parts[0].shape[2]}]"
            raise DataError(what, where=str(path), got=got, expected=expected)
        found = training_pairs(read_annotation([training]), ids)
        pairs += [(len(names) + row, text) for row, text in found]
        parts.append(features)
        names += ids
    return torch.cat(parts), pairs, names


@report_errors()
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: 0 when the head is there."""
    parser = command_parser(__doc__)
    embeds, train = ([Path(get_cache_path(path))] for path in (EMBEDS, TRAIN))
    several: dict[str, Any] = {"type": Path, "nargs": "+"}
    parser.add_argument("--embeds", default=embeds, help="files with features of views", **several)
    parser.add_argument("--annotations", default=train, help="training split of each", **several)
    parser.add_argument("--out", type=Path, help="default: head.safetensors beside the features")
    parser.add_argument("--text-teacher", default="minilm", help="whose space images enter")
    parser.add_argument("--epochs", type=int, default=20, help="passes through the texts")
    parser.add_argument(
        "--folds", type=positive, default=1, help="parts, each with a head without it"
    )
    parser.add_argument("--seed", type=int, default=42, help="of weights, order and views")
    options = parser.parse_args(arguments)
    if len(options.embeds) != len(options.annotations):
        parser.error("--embeds and --annotations name as many files")
    out = options.out or options.embeds[0].with_name("head.safetensors")
    features, pairs, names = read_pairs(options.embeds, options.annotations)
    teacher = SentenceTeacher(options.text_teacher, key="--text-teacher")
    head, loss = train_head(features, pairs, teacher, options.epochs, options.seed)
    digests = " ".join(file_sha256(path) for path in options.annotations)
    facts = {"space": teacher.space, "annotations_sha256": digests}
    folds = []
    if options.folds > 1:
        fold_of = folds_of(read_annotation(options.annotations), options.folds)
        facts[FOLD_OF] = json.dumps(fold_of)
        for number in range(options.folds):
            others = [pair for pair in pairs if fold_of[names[pair[0]]] != number]
            folds.append(train_head(features, others, teacher, options.epochs, options.seed)[0])
    save_tensors(out, with_folds(head, folds), facts)
    print(f"Head: {out}, {len(pairs)} texts, loss {loss:.3f}, folds {len(folds)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
