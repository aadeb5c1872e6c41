"""Baseline of objects in scenes: clusters of points, named by the nearest training object.

What is not floor or wall falls apart into clusters of near points (DBSCAN). Each takes the class of
the training object that is most similar in size, height above the floor and mean colour. A cluster
serves as an instance (its points) and as a box.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lavis.datasets.samples import Sample
from lavis.evaluation.scenes.instances import InstancePrediction

FLOOR, WALL = 0.06, 0.12  # metres from the lowest height and from the sides of the scene
CELL, NEAR, DENSE = 0.05, 0.1, 4  # metres of a voxel and between neighbours; voxels of a core
FEWEST = 30  # points of an object


@dataclass(frozen=True)
class Cluster:
    """An object that was found: rows of its points, box [6], label, score."""

    points: np.ndarray
    box: np.ndarray
    label: int
    score: float


class ClusterBaseline:
    """Find objects by distance between points.

    Args:
        scenes: of training, with semantic_label and instance_label.
        classes: number of classes; objects of others are left out.
    """

    def __init__(self, scenes: Sequence[Sample], classes: int) -> None:
        features, labels = [], []
        for scene in scenes:
            if "instance_label" not in scene:
                continue
            lowest = scene["xyz"][:, 1].min()
            for rows, label in _objects(scene["semantic_label"], scene["instance_label"]):
                if 0 <= label < classes and len(rows) >= FEWEST:
                    features.append(_describe(scene["xyz"][rows], scene["rgb"][rows], lowest))
                    labels.append(label)
        self.features, self.labels = np.array(features).reshape(-1, 7), np.array(labels, int)
        self.scale = self.features.std(0) + 1e-6 if len(labels) else np.ones(7)

    def find(self, xyz: np.ndarray, rgb: np.ndarray) -> list[Cluster]:
        """Return the objects among points [N,3] with colours [N,3], best first."""
        if not len(self.labels) or not len(xyz):
            return []
        found = [self._cluster(xyz, rgb, rows) for rows in cluster_points(xyz)]
        return sorted(found, key=lambda cluster: -cluster.score)

    def _cluster(self, xyz: np.ndarray, rgb: np.ndarray, rows: np.ndarray) -> Cluster:
        own = _describe(xyz[rows], rgb[rows], xyz[:, 1].min())
        distance = np.linalg.norm((self.features - own) / self.scale, axis=1)
        nearest = int(distance.argmin())
        low, high = xyz[rows].min(0), xyz[rows].max(0)
        box = np.concatenate([(low + high) / 2, high - low])
        return Cluster(rows, box, int(self.labels[nearest]), float(np.exp(-distance[nearest])))


def as_instances(clusters: Sequence[Cluster], points: int) -> InstancePrediction:
    """Return clusters as masks over a scene's points."""
    masks = np.zeros((len(clusters), points), bool)
    for mask, cluster in zip(masks, clusters, strict=True):
        mask[cluster.points] = True
    labels, scores = ([getattr(c, name) for c in clusters] for name in ("label", "score"))
    return InstancePrediction(masks, np.array(labels, int), np.array(scores, float))


def cluster_points(xyz: np.ndarray) -> list[np.ndarray]:
    """Return the rows of each cluster of points [N,3] that are not floor or wall."""
    from sklearn.cluster import DBSCAN  # a second of import

    low, high = xyz.min(0), xyz.max(0)
    sides = (xyz[:, [0, 2]] - low[[0, 2]] > WALL) & (high[[0, 2]] - xyz[:, [0, 2]] > WALL)
    rows = np.flatnonzero((xyz[:, 1] - low[1] > FLOOR) & sides.all(1))
    if not len(rows):
        return []
    cell = np.floor((xyz[rows] - low) / CELL).astype(int)
    voxels, member = np.unique(cell, axis=0, return_inverse=True)
    group = DBSCAN(eps=NEAR / CELL, min_samples=DENSE).fit_predict(voxels)[member.ravel()]
    return [own for k in range(group.max() + 1) if len(own := rows[group == k]) >= FEWEST]


def _objects(semantic: np.ndarray, instance: np.ndarray) -> list[tuple[np.ndarray, int]]:
    """Return rows and class of every object."""
    order = np.argsort(instance, kind="stable")
    order = order[instance[order] >= 0]
    starts = np.unique(instance[order], return_index=True)[1]
    parts = np.split(order, starts[1:]) if len(order) else []
    return [(rows, int(semantic[rows[0]])) for rows in parts]


def _describe(xyz: np.ndarray, rgb: np.ndarray, lowest: float) -> np.ndarray:
    """Return log edges (the plan's sorted), height of the underside, and mean colour: [7]."""
    low, high = xyz.min(0), xyz.max(0)
    width, height, depth = high - low
    edges = np.log(np.maximum([max(width, depth), min(width, depth), height], 0.01))
    return np.concatenate([edges, [low[1] - lowest], rgb.mean(0)])
