"""Instances as connected groups of points that were moved to centres (PointGroup)."""

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
    """

    masks: np.ndarray
    labels: np.ndarray
    scores: np.ndarray


def group_points(
    moved: np.ndarray, probability: np.ndarray, things: np.ndarray, cell: float, least_points: int
) -> Instances:
    """Group the points of each class that lie together.

    Args:
        moved: float [N,3], points at their predicted centres, metres.
        probability: float [N,K] of the classes.
        things: bool [K], classes that have instances.
        cell: width of the cells that are connected when they touch, metres.
        least_points: smaller groups are left out.

    Returns:
        Instances of the points whose most probable class is a thing. A score is the mean
        probability of the class over the points.
    """
    label = probability.argmax(1)
    points = np.flatnonzero(things[label])
    group = touching_groups(moved[points], label[points], cell)
    count = np.bincount(group)
    kept = np.flatnonzero(count >= least_points)
    masks = np.zeros((len(kept), len(moved)), dtype=bool)
    for row, number in enumerate(kept):
        masks[row, points[group == number]] = True
    labels = np.array([label[mask][0] for mask in masks], dtype=np.int64)
    scores = [probability[mask, k].mean() for mask, k in zip(masks, labels)]
    order = np.argsort(-np.array(scores, dtype=np.float32), kind="stable")
    return Instances(masks[order], labels[order], np.array(scores, dtype=np.float32)[order])


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
