"""Axis-aligned boxes of a scene's objects, from the labels of its points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from lavis.datasets.datasets.annotations import Entry
from lavis.datasets.fields.points import PointLoader
from lavis.datasets.samples import Field, Sample, register_field

LEAST_POINTS = 5  # that show an object

register_field("box_label", Field("list of [K]", "list"))
register_field("box_instance", Field("list of [K]", "list"))


@dataclass(frozen=True)
class BoxLoader(PointLoader):
    """Load a scene and boxes [K,6] (centre, size) of its objects, box_label [K], box_instance [K].

    Boxes are those of all points as stored, as ScanNet's detection benchmark takes them: they do
    not depend on how many points the processor keeps, and fit where it moves none.
    """

    def load(self, record: Entry, rng: np.random.Generator) -> Sample:
        """Return the processed points and the boxes."""
        points = self.read(record)
        if not isinstance(points, dict):
            return super().load(record, rng)
        return super().load(record, rng) | boxes_of(
            points["xyz"], points["semantic_label"], points["instance_label"]
        )


@dataclass(frozen=True)
class MovedBoxLoader(PointLoader):
    """The same with boxes of the processed points: random steps move, turn and cut objects."""

    def load(self, record: Entry, rng: np.random.Generator) -> Sample:
        """Return the processed points and their boxes."""
        sample = super().load(record, rng)
        names = ("semantic_label", "instance_label")
        return sample | boxes_of(
            sample["point_cloud"][:, :3].numpy(), *(sample[name].numpy() for name in names)
        )


def boxes_of(xyz: np.ndarray, semantic: np.ndarray, instance: np.ndarray) -> Sample:
    """Return the boxes of the labelled objects that at least `LEAST_POINTS` points show.

    Args:
        xyz: [N,3].
        semantic: [N], -1 for none.
        instance: [N], -1 for none.

    Returns:
        boxes float32 [K,6], box_label and box_instance int64 [K], in the order of instances.
    """
    order = np.argsort(instance, kind="stable")
    order = order[(instance[order] >= 0) & (semantic[order] >= 0)]
    ids, starts, counts = np.unique(instance[order], return_index=True, return_counts=True)
    kept = counts >= LEAST_POINTS
    if not kept.any():
        none = torch.zeros(0, dtype=torch.int64)
        return {"boxes": torch.zeros(0, 6), "box_label": none, "box_instance": none}
    low = np.minimum.reduceat(xyz[order], starts)[kept].astype(np.float64)
    high = np.maximum.reduceat(xyz[order], starts)[kept].astype(np.float64)
    boxes = np.concatenate([(low + high) / 2, high - low], axis=1).astype(np.float32)
    return {
        "boxes": torch.from_numpy(boxes),
        "box_label": torch.from_numpy(semantic[order][starts][kept].astype(np.int64)),
        "box_instance": torch.from_numpy(ids[kept].astype(np.int64)),
    }
