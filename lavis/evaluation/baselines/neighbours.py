"""Nearest training objects of each object by box, by histogram and box, and by chamfer distance.

Each function returns an order [n,m]: all m training objects of each of the n objects, the nearest
first. An object is never its own neighbour: if it is in the training split, it is sorted last.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from lavis.evaluation.baselines.chamfer import chamfer_distances
from lavis.evaluation.baselines.features import ObjectFeatures

# Objects whose exact chamfer distance is computed. val of bricks v2, CIDEr: 32 106.2, 64 107.5.
SURVIVORS = 64


def box_order(objects: ObjectFeatures, train: ObjectFeatures) -> np.ndarray | None:
    """Order training objects by the distance of the log boxes: int32 [n,m]."""
    if objects.log_boxes is None or train.log_boxes is None:
        return None
    return _order(squared_distances(objects.log_boxes, train.log_boxes), objects, train)


def histogram_order(objects: ObjectFeatures, train: ObjectFeatures) -> np.ndarray | None:
    """Order training objects by histograms, and by boxes where there are any: int32 [n,m]."""
    distances = histogram_distances(objects, train)
    return None if distances is None else _order(distances, objects, train)


def histogram_distances(objects: ObjectFeatures, train: ObjectFeatures) -> np.ndarray | None:
    """Return squared distances of root histograms, plus those of the weighted log boxes: [n,m]."""
    own, known = objects.joint_space(), train.joint_space()
    return None if own is None or known is None else squared_distances(own, known)


def chamfer_order(
    objects: ObjectFeatures, train: ObjectFeatures, *, survivors: int = SURVIVORS
) -> np.ndarray | None:
    """Order the nearest by histogram and box by their chamfer distance; the others follow.

    Returns:
        int32 [n,m]; the first `survivors` of each row are in the order of the exact distance.
    """
    order = histogram_order(objects, train)
    if order is None or objects.clouds is None or train.clouds is None:
        return None
    own = {str(i): row for row, i in enumerate(train.ids)}
    clouds, known = objects.clouds, train.clouds

    def by_chamfer(row: int) -> np.ndarray:
        near = order[row, :survivors]
        distances = chamfer_distances(clouds[row], known[near])
        distances[near == own.get(str(objects.ids[row]), -1)] = np.inf
        return near[np.argsort(distances.round(6), kind="stable")]

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for row, near in enumerate(threads.map(by_chamfer, range(len(order)))):
            order[row, :survivors] = near
    return order


def squared_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return squared distances of rows, float64 [n,m]; rounded, so that threads do not matter."""
    first, second = first.astype(np.float64), second.astype(np.float64)
    squares = np.square(first).sum(axis=1)[:, None] + np.square(second).sum(axis=1)[None]
    return np.maximum(squares - 2 * first @ second.T, 0).round(9)


def _order(distances: np.ndarray, objects: ObjectFeatures, train: ObjectFeatures) -> np.ndarray:
    """Sort the columns of each row; equal distances keep the training order, oneself is last."""
    distances[objects.ids[:, None] == train.ids[None, :]] = np.inf
    return np.argsort(distances, axis=1, kind="stable").astype(np.int32)
