"""A small folder in the layout of `python -m lavis.datasets.convert`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lavis.datasets.manifest import write_json, write_manifest
from lavis.datasets.stores.packed_fields import FIELD_LAYOUTS, UNIT_XYZ, PackedFieldWriter

CLASSES = ("Chair", "lamp", "table")
COLORS = ("red", "blue", "green")
SPLITS = {"train": range(12), "val": range(12, 16), "test": range(16, 22)}
KINDS = ("captions", "qa", "classes")


def own_folder(folder: Path, kinds: Sequence[str] = KINDS, points: int = 80) -> Path:
    """Write 22 objects; object k is of class k % 3 and colour k % 2, 0.5 (k % 3 + 1) units wide."""
    rows = [number for numbers in SPLITS.values() for number in numbers]
    layouts = {"xyz": UNIT_XYZ, "rgb": FIELD_LAYOUTS["rgb"]}
    sizes = {}
    with PackedFieldWriter(folder / "points", layouts) as writer:
        for number in rows:
            fields, scale, size = _object(number, points + number)
            writer.write(f"o{number}", fields, scale)
            sizes[f"o{number}"] = {"size": size, "centre": [0.0, 0.0, 0.0], "has_color": True}
    write_json(folder / "object_ids.json", list(sizes))
    write_json(folder / "geometry.json", sizes)
    (folder / "annotations").mkdir()
    for kind in kinds:
        for split, numbers in SPLITS.items():
            records = [_record(kind, split, number, "classes" in kinds) for number in numbers]
            write_json(folder / "annotations" / f"{kind}_{split}.json", records)
    if "classes" in kinds:
        write_json(folder / "classes.json", {"class_names": sorted(CLASSES)})
    write_manifest(folder, kind="own objects", layout=1, version="0123456789ab", up_axis="y")
    return folder


def _object(number: int, points: int) -> tuple[dict[str, np.ndarray], float, list[float]]:
    """Return fields, scale and size of a box whose height grows with its class."""
    rng = np.random.default_rng(number)
    edges = np.array([0.5 * (number % 3 + 1), 1.0 + number % 3, 0.5])
    xyz = (rng.random((points, 3)) - 0.5) * edges
    xyz[:2] = [edges / 2, -edges / 2]
    scale = float(np.linalg.norm(xyz, axis=1).max())
    rgb = np.tile(np.eye(3)[number % 2], (points, 1))
    unit = np.clip(xyz / scale, -1, 1)
    fields = {"xyz": unit.astype(np.float32), "rgb": rgb.astype(np.float32)}
    return fields, scale, np.ptp(xyz, axis=0).tolist()


def _record(kind: str, split: str, number: int, with_class: bool) -> dict[str, Any]:
    name, color = CLASSES[number % 3], COLORS[number % 2]
    common = {"object_id": f"o{number}", "group": f"g{number}", "split": split}
    captions = [f"a {color} {name.lower()} number {number}", f"{name}, {color}"]
    if kind == "qa":
        question = {"question": "What colour is it?", "answer": [color], "question_type": "colour"}
        return {**common, "question_id": f"q{number}", **question}
    return {**common, "caption": captions, **({"category": name} if with_class else {})}
