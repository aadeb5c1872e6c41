"""Files of the prepared furniture: packed clouds, annotations, classes, sizes, attribution."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lavis.datasets.download_scripts.furniture.catalogue import Model
from lavis.datasets.download_scripts.furniture.classes import class_of
from lavis.datasets.download_scripts.furniture.clouds import Cloud
from lavis.datasets.download_scripts.furniture.splits import VERSION, Place, counts
from lavis.datasets.download_scripts.furniture.texts import captions, description
from lavis.datasets.download_scripts.labelled_splits import write_annotations
from lavis.datasets.manifest import write_json
from lavis.datasets.stores.packed_points import PackedPointWriter

FORMAT = 1  # raise it when the content of the folder changes
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
    classes = write_annotations(final, records)
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
