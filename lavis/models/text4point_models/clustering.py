"""Instances as connected groups of points, at their places and moved to centres (PointGroup)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

_NEIGHBOUR = 1.8  # cells: those that share a corner are connected (distance 3 ** 0.5)


class Instances(NamedTuple):
    """Instances of one scene.

    Attributes:
        masks: bool [K,N].
        labels: int64 [K].
        scores: float32 [K], in [0,1], best first.
        probabilities: float32 [K,C], mean of every class over the points.
    """

    masks: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    probabilities: np.ndarray


def group_points(
    xyz: np.ndarray,
    moved: np.ndarray,
    probability: np.ndarray,
    things: np.ndarray,
    cell: float,
    least_points: int,
    most_overlap: float,
) -> Instances:
    """Group the points that lie together: those of each class, and those of any class.

    The groups of a class are of the points where they were moved to, those of any class of the
    points where they are: an object that was labelled in parts is whole there. Of two groups that
    overlap, the worse one goes. PointGroup joins groups of both places, too, all by class.

    Args:
        xyz, moved: float [N,3], the points, and at their predicted centres, metres.
        probability: float [N,K] of the classes.
        things: bool [K], classes that have instances.
        cell: width of the cells that are connected when they touch, metres.
        least_points: smaller groups are left out.
        most_overlap: of two groups, intersection over union above which the worse one goes.

    Returns:
        Instances of the points whose most probable class is a thing. The label is the most
        probable thing of the points, a score its mean probability.
    """
    label = probability.argmax(1)
    points = np.flatnonzero(things[label])
    any_class = np.zeros(len(points), dtype=np.int64)
    groups = [
        *_large(touching_groups(moved[points], label[points], cell), least_points),
        *_large(touching_groups(xyz[points], any_class, cell), least_points),
    ]
    masks = np.zeros((len(groups), len(moved)), dtype=bool)
    for mask, group in zip(masks, groups):
        mask[points[group]] = True
    means = np.array([probability[mask].mean(0) for mask in masks], dtype=np.float32)
    means = means.reshape(-1, len(things))
    of_things = np.where(things, means, 0)
    labels, scores = of_things.argmax(1), of_things.max(1)
    kept = _without_doubles(masks, scores, most_overlap)
    return Instances(masks[kept], labels[kept], scores[kept], means[kept])


def _large(group: np.ndarray, least: int) -> list[np.ndarray]:
    """Return the rows of each group that has at least `least` points."""
    order = np.argsort(group, kind="stable")
    count = np.bincount(group)
    parts = np.split(order, np.cumsum(count)[:-1]) if len(order) else []
    return [part for part in parts if len(part) >= least]


def _without_doubles(masks: np.ndarray, scores: np.ndarray, most: float) -> np.ndarray:
    """Return the rows of masks that no better one overlaps by more than `most`, best first."""
    size = masks.sum(1)
    common = masks.astype(np.float32) @ masks.T.astype(np.float32)  # [M,M]
    double = common > most * (size[:, None] + size[None] - common)
    kept: list[int] = []
    for row in np.argsort(-scores, kind="stable").tolist():
        if not double[row, kept].any():
            kept.append(row)
    return np.array(kept, dtype=np.int64)


def touching_groups(xyz: np.ndarray, label: np.ndarray, cell: float) -> np.ndarray:
    """Return the number of each point's group, int64 [M]; groups share a label and are connected.

    Points condense at centres, so that cells are few where pairs of points are many.
    """
    if not len(xyz):
        return np.zeros(0, dtype=np.int64)
    place = np.floor(xyz / cell).astype(np.int64)  # [M,3]
    keys = np.concatenate([place, label[:, None]], axis=1)
    cells, cell_of_point = np.unique(keys, axis=0, return_inverse=True)
    # Classes lie apart along a fourth axis, so that no cells of two classes touch.
    apart = cells * np.array([1.0, 1.0, 1.0, 2 * _NEIGHBOUR])
    pairs = cKDTree(apart).query_pairs(_NEIGHBOUR, output_type="ndarray")
    size = len(cells)
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(size, size))
    _, group_of_cell = connected_components(graph, directed=False)
    return group_of_cell[cell_of_point.reshape(-1)].astype(np.int64)
