"""Files of a run and the prepared data, read without the package."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

Record = Mapping[str, Any]
Entries = list[dict[str, Any]]
LOCKED = "test_final"
KINDS = {
    "point_captioning": "caption",
    "point_retrieval": "caption",
    "point_classification": "class",
    "point_qa": "qa",
}


def read_json(path: Path) -> Any:
    """Return the content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Run:
    """Result files of one evaluated split.

    Attributes:
        name: for the table, e.g. "output/demo/captioning/dev_test".
        record: the metrics record.
        predictions: entries of the prediction file.
        items: {metric: {id: value}}; empty without the file.
        baseline_items: {baseline: {metric: {id: value}}}; empty without the file.
    """

    name: str
    record: Record
    predictions: Entries
    items: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    baseline_items: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)

    @property
    def task(self) -> str:
        """Name of the task."""
        return str(self.record["task"])

    @property
    def split(self) -> str:
        """The split, without the name of a control."""
        return str(self.record["split"]).removesuffix(f"_{self.record['alteration']}")

    @property
    def published(self) -> dict[str, Any]:
        """Everything that is published: the record and the per-item values."""
        return {**self.record, "items": self.items, "baseline_items": self.baseline_items}


def read_run(metrics_file: Path) -> Run:
    """Read the files beside `<split>_metrics.json`."""
    stem = metrics_file.name.removesuffix("_metrics.json")
    folder = metrics_file.parent

    def beside(ending: str) -> Any:
        path = folder / f"{stem}{ending}.json"
        return read_json(path) if path.is_file() else None

    job = folder.parent if folder.name == "result" else folder
    return Run(
        f"{job}/{stem}",
        read_json(metrics_file),
        beside("") or [],
        beside("_items") or {},
        beside("_baseline_items") or {},
    )


def metrics_files(folders: Iterable[Path]) -> list[Path]:
    """Return the metrics files below some folders, without those of validation in training."""
    found = {path for folder in folders for path in folder.rglob("*_metrics.json")}
    return sorted(path for path in found if "_epoch" not in path.name)


class Data:
    """The prepared brick data.

    Args:
        folder: of `manifest.json`, annotations and packed arrays.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._annotations: dict[str, Entries] = {}
        self.kept: dict[Any, Any] = {}  # what baselines share: features, neighbours, forests

    def annotation(self, kind: str, split: str) -> Entries:
        """Return the records of `<kind>_<split>.json`."""
        name = f"{kind}_{split}"
        if name not in self._annotations:
            self._annotations[name] = read_json(self.folder / "annotations" / f"{name}.json")
        return self._annotations[name]

    def of(self, run: Run, split: str | None = None) -> Entries:
        """Return the annotation of a run's task; of its own split by default."""
        return self.annotation(KINDS[run.task], split or run.split)

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The manifest; empty without one."""
        path = self.folder / "manifest.json"
        return read_json(path) if path.is_file() else {}

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Row of each object in the packed arrays."""
        return {name: row for row, name in enumerate(read_json(self.folder / "object_ids.json"))}

    @cached_property
    def xyz(self) -> np.ndarray:
        """Packed coordinates, int16 [n,P,3]."""
        return np.load(self.folder / "points_xyz.npy", mmap_mode="r")

    @cached_property
    def rgb(self) -> np.ndarray:
        """Packed colours, uint8 [n,P,3]."""
        return np.load(self.folder / "points_rgb.npy", mmap_mode="r")

    @cached_property
    def scale(self) -> np.ndarray:
        """Radius of each object's unit sphere in studs, float32 [n]."""
        return np.load(self.folder / "points_scale.npy")

    def class_names(self, split: str) -> list[str]:
        """Return the classes that are scored on a split."""
        classes = read_json(self.folder / "classes.json")
        return classes["held_out_class_names" if split == "held_out" else "class_names"]
