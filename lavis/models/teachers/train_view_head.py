"""Train the head of the image teacher on views of the training split alone.

    python -m lavis.models.teachers.train_view_head
    CPU-sized: … --epochs 1 --out /tmp/head.safetensors

Reads the features that embed_views.py wrote, and contrasts each object's views (one at random a
step) with its description and its category in the space of the texts (57 s on one busy core). Then
`python -m lavis.models.teachers.embed_views --views … --head <out>` embeds every object with it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from lavis.common.errors import DataError, PointLanguageError, explain
from lavis.common.files import file_sha256
from lavis.common.utils import get_cache_path
from lavis.datasets.datasets.annotations import Entry, read_annotation
from lavis.models.teachers.head import save_tensors, train_head
from lavis.models.teachers.sentence import SentenceTeacher

FIELDS = ("description", "category")
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
        raise DataError(explain(what, where=str(path), got=repr(error), fix=fix)) from error


def training_pairs(records: Sequence[Entry], ids: Sequence[str]) -> list[tuple[int, str]]:
    """Return (row of the features, text) of every training object with views.

    Raises:
        DataError: a record of another split, or no pair.
    """
    other = [record["object_id"] for record in records if record.get("split", "train") != "train"]
    if other:
        what, got = "the head is trained on the training split alone", f"objects {other[:5]}"
        raise DataError(explain(what, where="--annotations", got=got))
    row_of = {name: row for row, name in enumerate(ids)}
    known = [record for record in records if record["object_id"] in row_of]
    texts = [(row_of[r["object_id"]], str(r.get(field) or "")) for r in known for field in FIELDS]
    pairs = [(row, text) for row, text in texts if text.strip()]
    if not pairs:
        raise DataError(explain("no training object has views and a text", where="--embeds"))
    return pairs


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: 0 when the head is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    embeds, train = (Path(get_cache_path(path)) for path in (EMBEDS, TRAIN))
    parser.add_argument("--embeds", type=Path, default=embeds, help="file with features of views")
    parser.add_argument("--annotations", type=Path, default=train, help="training split")
    parser.add_argument("--out", type=Path, help="default: head.safetensors beside the features")
    parser.add_argument("--text-teacher", default="minilm", help="whose space images enter")
    parser.add_argument("--epochs", type=int, default=20, help="passes through the texts")
    parser.add_argument("--seed", type=int, default=42, help="of weights, order and views")
    options = parser.parse_args(arguments)
    out = options.out or options.embeds.with_name("head.safetensors")
    try:
        features, ids = read_features(options.embeds)
        pairs = training_pairs(read_annotation([options.annotations]), ids)
        teacher = SentenceTeacher(options.text_teacher, key="--text-teacher")
        head, loss = train_head(features, pairs, teacher, options.epochs, options.seed)
    except PointLanguageError as error:
        print(error, file=sys.stderr)
        return 1
    facts = {"space": teacher.space, "annotations_sha256": file_sha256(options.annotations)}
    save_tensors(out, head.state_dict(), facts)
    print(f"Head: {out}, {len(pairs)} texts, loss {loss:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
