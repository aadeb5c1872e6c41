"""Nearest training objects by box, by histogram and box, and by chamfer distance.

Distances by scipy's `cdist`, pair by pair; the package uses matrix products and k-d trees. Equal
distances (to nine decimals, chamfer to six) keep the order of the training split.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial.distance import cdist

from benchmarks.recompute.features import Objects, objects
from benchmarks.recompute.runs import Data

SURVIVORS = 64  # nearest by histogram whose chamfer distance is computed
NAMES = ("nearest_box", "nearest_histogram", "nearest_chamfer")


def orders(data: Data, asked: Sequence[str], train: Sequence[str]) -> dict[str, np.ndarray]:
    """Return {baseline: training rows from near to far, int [n,m]} of the asked objects."""
    key = ("orders", tuple(asked), tuple(train))
    if key not in data.kept:
        own, known = objects(data, asked), objects(data, train)
        by_box = nearest_first(own.log_boxes, known.log_boxes)
        by_histogram = nearest_first(own.near_space, known.near_space)
        by_chamfer = rearranged(data, own, known, by_histogram)
        data.kept[key] = dict(zip(NAMES, (by_box, by_histogram, by_chamfer)))
    return data.kept[key]


def nearest_first(own: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Sort known rows [m,F] by their distance to each own row [n,F]: int [n,m]."""
    squares = cdist(own.astype(np.float64), known.astype(np.float64), "sqeuclidean")
    return np.argsort(np.round(squares, 9), axis=1, kind="stable")


def rearranged(data: Data, own: Objects, known: Objects, order: np.ndarray) -> np.ndarray:
    """Sort the first 64 of each row by chamfer distance."""
    result = order.copy()
    for row, near in enumerate(order[:, :SURVIVORS]):
        distances = [chamfer(data, own, row, known, k) for k in near.tolist()]
        result[row, :SURVIVORS] = near[np.argsort(np.round(distances, 6), kind="stable")]
    return result


def chamfer(data: Data, own: Objects, row: int, known: Objects, k: int) -> float:
    """Return the mean distance to the nearest point of the other cloud, averaged both ways."""
    key = ("chamfer", own.ids[row], known.ids[k])
    if key not in data.kept:
        distances = cdist(own.clouds[row], known.clouds[k])  # [512,512]
        data.kept[key] = (distances.min(axis=1).mean() + distances.min(axis=0).mean()) / 2
    return data.kept[key]
