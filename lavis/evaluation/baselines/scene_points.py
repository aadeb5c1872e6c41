"""Baselines of labels of points, from the points of all training scenes; nothing is embedded.

    most_frequent_class      the class of most points
    color_height_histogram   the class of most training points of the same colour and height
    nearest_point            the class of the nearest training point by colour and height

Training scenes are read once, `POINTS` points of each; every scene weighs the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from lavis.datasets.samples import Sample
from lavis.evaluation.altered_splits import original_store

POINTS = 2000  # of a training scene, the first ones: stores keep points in a random order
NEIGHBOURS_FROM = 100_000  # training points that are searched
_COLORS, _HEIGHTS, _TALLEST = 8, 24, 3.0  # cells of a channel, cells of the height, metres


def training_scenes(dataset: Any) -> list[dict[str, np.ndarray]]:
    """Return the labelled points of all training scenes, as stored: xyz, rgb, labels.

    Data without a training split, and scenes without labels or colours, have none.
    """
    records = dataset.train_annotation() if hasattr(dataset, "train_annotation") else []
    store = original_store(dataset) if hasattr(dataset, "point_store") else None
    if store is None or not hasattr(store, "load_points"):
        return []
    names = list(dict.fromkeys(str(record["object_id"]) for record in records))
    scenes = (store.load_points(name) for name in names)
    return [scene for scene in scenes if {"rgb", "semantic_label"} <= set(scene)]


class PointBaselines:
    """Label points by what training points of their colour and height are.

    Args:
        scenes: of training (`training_scenes`).
        classes: number of classes; labels of others are left out.
    """

    def __init__(self, scenes: Sequence[Sample], classes: int) -> None:
        parts = [{k: v[:POINTS] for k, v in scene.items()} for scene in scenes]
        self.features = np.concatenate([_features(p["xyz"], p["rgb"]) for p in parts])
        self.labels = np.concatenate([p["semantic_label"] for p in parts])
        known = (self.labels >= 0) & (self.labels < classes)
        self.features, self.labels, self.classes = self.features[known], self.labels[known], classes
        self.most_frequent = int(np.bincount(self.labels, minlength=classes).argmax())

    @cached_property
    def _histogram(self) -> np.ndarray:
        """Class of most points of every cell; the most frequent class in empty cells."""
        counts = np.zeros((_COLORS**3 * _HEIGHTS, self.classes), np.int32)
        np.add.at(counts, (_cells(self.features), self.labels), 1)
        return np.where(counts.any(1), counts.argmax(1), self.most_frequent)

    @cached_property
    def _nearest(self) -> Any:
        from sklearn.neighbors import KNeighborsClassifier  # a second of import

        step = -(-len(self.labels) // NEIGHBOURS_FROM)
        features, rows = _distinct(self.features[::step])[:2]
        return KNeighborsClassifier(1, algorithm="kd_tree").fit(features, self.labels[::step][rows])

    def _nearest_labels(self, features: np.ndarray) -> np.ndarray:
        distinct, _, place = _distinct(features)
        return self._nearest.predict(distinct)[place]

    def predict(self, xyz: np.ndarray, rgb: np.ndarray) -> dict[str, np.ndarray]:
        """Return {baseline: labels [N]} of points [N,3] with colours [N,3] in [0,1]."""
        if not len(self.labels):
            return {}
        features = _features(xyz, rgb)
        return {
            "most_frequent_class": np.full(len(xyz), self.most_frequent),
            "color_height_histogram": self._histogram[_cells(features)],
            "nearest_point": self._nearest_labels(features),
        }


def _features(xyz: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """Return colour in [0,1] and height above the lowest point as a share of 3 m: [N,4]."""
    height = (xyz[:, 1] - xyz[:, 1].min(initial=np.inf)) / _TALLEST
    return np.concatenate([rgb, height[:, None]], axis=1).astype(np.float32)


def _distinct(features: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the distinct rows [M,4] in steps of 1/255, a row of each [M], and their places [N].

    Many points of a scene are equal: a search tree of all of them is slow.
    """
    steps = np.clip(np.rint(features * 255), 0, 1023).astype(np.int64)
    codes = steps @ (1024 ** np.arange(4))
    _, rows, place = np.unique(codes, return_index=True, return_inverse=True)
    return steps[rows] / 255, rows, place.ravel()


def _cells(features: np.ndarray) -> np.ndarray:
    """Return the cell of each point: [N]."""
    size = np.array([_COLORS] * 3 + [_HEIGHTS])
    cell = np.clip((features * size).astype(int), 0, size - 1)
    return np.ravel_multi_index(tuple(cell.T), tuple(size))
