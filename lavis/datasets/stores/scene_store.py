"""Scenes with labels as named fields: upright, centred on their floor, in a random order.

A source gives a function that reads one scene as released; everything else is the same for all.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from lavis.common.errors import DataError
from lavis.datasets.datasets.annotations import sample_rng
from lavis.datasets.stores.point_stores import FieldStore
from lavis.processors.point_transforms import PointFields, take_points

LABELS = ("semantic_label", "instance_label")
_KEPT = 2  # scenes in memory: the loaders of one sample read the same scene


@dataclass(frozen=True)
class SceneStore(FieldStore):
    """Scenes of files.

    Attributes:
        read: returns `xyz` in metres and further fields of a scene; raises DataError.
        up_axis: of `read`'s coordinates, "y" or "z".
        num_points: points that are kept, the same in every epoch; 0 keeps all.
        seed: of their choice and order.
    """

    read: Callable[[str], PointFields]
    up_axis: str
    num_points: int = 0
    seed: int = 0
    _kept: OrderedDict[str, PointFields] = field(default_factory=OrderedDict, repr=False)

    def load_points(self, object_id: str) -> PointFields:
        """Return the fields of a scene: xyz float32 with up +y, its floor's middle at 0.

        Raises:
            DataError: the scene cannot be read, or has no points.
        """
        if object_id not in self._kept:
            self._kept[object_id] = self._prepared(object_id)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return dict(self._kept[object_id])

    def _prepared(self, object_id: str) -> PointFields:
        points = self.read(object_id)
        count = len(points["xyz"])
        if not count:
            raise DataError("a scene has no points", where=object_id)
        # A random order: the first points of a scene are a fair sample of it.
        order = sample_rng(self.seed, 0, object_id).permutation(count)
        points = take_points(points, order[: self.num_points or count])
        return centred(upright_fields(points) if self.up_axis == "z" else points)


def upright_fields(points: PointFields) -> PointFields:
    """Return points whose up axis z became y: (x, y, z) becomes (x, z, -y)."""

    def turned(vectors: np.ndarray) -> np.ndarray:
        return np.stack([vectors[:, 0], vectors[:, 2], -vectors[:, 1]], axis=1)

    names = [name for name in ("xyz", "normal") if name in points]
    return {**points, **{name: turned(points[name]) for name in names}}


def centred(points: PointFields) -> PointFields:
    """Return points in float32 with the lowest at height 0 and the middle of the plan at 0."""
    xyz = points["xyz"]
    low, high = xyz.min(axis=0), xyz.max(axis=0)
    origin = np.array([(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2])
    return {**points, "xyz": (xyz - origin).astype(np.float32)}


@dataclass(frozen=True)
class CheckedLabels(FieldStore):
    """Scenes of another store, whose labels have to be of the known classes.

    Attributes:
        store: the scenes.
        num_classes: labels are -1 (none) to num_classes - 1.
    """

    store: FieldStore
    num_classes: int

    def load_points(self, object_id: str) -> PointFields:
        """Return the fields of a scene, labels as int64.

        Raises:
            DataError: a label outside the set; it is named.
        """
        points = self.store.load_points(object_id)
        points |= {n: points[n].astype(np.int64) for n in LABELS if n in points}
        labels = points.get("semantic_label")
        if labels is not None and len(labels):
            bad = np.unique(labels[(labels < -1) | (labels >= self.num_classes)])
            if len(bad):
                got, expected = bad[:10].tolist(), f"-1 (none) to {self.num_classes - 1}"
                what = "a scene has labels outside the set"
                raise DataError(what, where=object_id, got=got, expected=expected)
        return points

    def scale(self, object_id: str) -> float:
        """Return the scale of the store."""
        return self.store.scale(object_id)
