"""Files of the prepared furniture: packed clouds, annotations, classes, sizes, attribution."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lavis.datasets.download_scripts.furniture.catalogue import Model
from lavis.datasets.download_scripts.furniture.classes import HELD_OUT, class_of
from lavis.datasets.download_scripts.furniture.clouds import Cloud
from lavis.datasets.download_scripts.furniture.splits import SPLITS, VERSION, Place, counts
from lavis.datasets.download_scripts.furniture.texts import captions, description
from lavis.datasets.manifest import write_json
from lavis.datasets.stores.packed_points import PackedPointWriter

FORMAT = 1  # raise it when the content of the folder changes
LEAST_TRAINING = 4  # models: a class of fewer is none
Record = dict[str, Any]


def records_of(models: Sequence[Model], places: Mapping[str, Place]) -> list[Record]:
    """Return the annotation of every model, in their order."""
    return [
        {
            "object_id": model.object_id,
            "caption": captions(model),
            "description": description(model),
            **({"category": name} if (name := class_of(model.name)) else {}),
            "room": model.category,
            "tags": list(model.tags),
            "size": list(model.size),
            "group": places[model.object_id].group,
            "split": places[model.object_id].split,
        }
        for model in models
    ]


def class_names(records: Iterable[Record]) -> dict[str, list[str]]:
    """Return the classes of training and those that are held out."""
    found: dict[str, Counter[str]] = {"train": Counter(), "held_out": Counter()}
    for record in records:
        if "category" in record and record["split"] in found:
            found[record["split"]][record["category"]] += 1
    seen = [name for name, count in found["train"].items() if count >= LEAST_TRAINING]
    return {
        "class_names": sorted(set(seen) - HELD_OUT),
        "held_out_class_names": sorted(found["held_out"]),
    }


def write_clouds(final: Path, clouds: Iterable[Cloud], count: int, num_points: int) -> None:
    """Write packed clouds in their order."""
    with PackedPointWriter(final, count, num_points) as writer:
        for row, cloud in enumerate(clouds):
            writer.write(row, *cloud)


def write_texts(final: Path, records: Sequence[Record], models: Path) -> dict[str, Any]:
    """Write annotations, classes, ids, sizes and the attribution; return the counts.

    Args:
        final: the folder, with its packed clouds.
        records: of the clouds, in their order.
        models: folder of the model files.
    """
    (final / "annotations").mkdir()
    classes = class_names(records)
    for split in SPLITS:
        members = [record for record in records if record["split"] == split]
        names = classes["held_out_class_names" if split == "held_out" else "class_names"]
        labelled = [record for record in members if record.get("category") in names]
        write_json(final / f"annotations/caption_{split}.json", members)
        write_json(final / f"annotations/class_{split}.json", labelled)
    write_json(final / "classes.json", classes)
    write_json(final / "object_ids.json", [record["object_id"] for record in records])
    sizes = {r["object_id"]: {"size": r["size"], "group": r["group"]} for r in records}
    write_json(final / "geometry.json", sizes)
    shutil.copy(models / "ATTRIBUTION.md", final)
    shutil.copytree(models / "LICENSES", final / "LICENSES")
    return {
        "version": VERSION,
        "objects": len(records),
        "splits": counts(Place(r["split"], r["group"]) for r in records),
        "classes": len(classes["class_names"]),
        "held_out_classes": len(classes["held_out_class_names"]),
        "distinct_names": len({record["caption"][0] for record in records}),
        "captions": sum(len(record["caption"]) for record in records),
    }
