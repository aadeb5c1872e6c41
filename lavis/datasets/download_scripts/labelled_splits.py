"""Annotations of prepared data: captions and classes of every split, and the class names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lavis.datasets.download_scripts.hashed_splits import SPLITS
from lavis.datasets.manifest import write_json

LEAST_TRAINING = 4  # records: a class of fewer is none
Record = dict[str, Any]


def write_annotations(final: Path, records: Sequence[Record]) -> dict[str, list[str]]:
    """Write annotations/{caption,class}_<split>.json, classes.json and object_ids.json.

    Args:
        final: the folder.
        records: with `object_id`, `split` and, where there is one, `category`.

    Returns:
        `class_names`, of enough training records, and `held_out_class_names`.
    """
    classes = class_names(records)
    (final / "annotations").mkdir()
    for split in SPLITS:
        members = [record for record in records if record["split"] == split]
        names = classes["held_out_class_names" if split == "held_out" else "class_names"]
        labelled = [record for record in members if record.get("category") in names]
        write_json(final / f"annotations/caption_{split}.json", members)
        write_json(final / f"annotations/class_{split}.json", labelled)
    write_json(final / "classes.json", classes)
    write_json(final / "object_ids.json", [record["object_id"] for record in records])
    return classes


def class_names(records: Sequence[Record]) -> dict[str, list[str]]:
    """Return the classes of training and those that are held out."""
    seen: dict[str, Counter[str]] = {"train": Counter(), "held_out": Counter()}
    for record in records:
        if "category" in record and record["split"] in seen:
            seen[record["split"]][record["category"]] += 1
    trained = {name for name, count in seen["train"].items() if count >= LEAST_TRAINING}
    held_out = seen["held_out"]
    return {
        "class_names": sorted(trained - set(held_out)),
        "held_out_class_names": sorted(held_out),
    }
