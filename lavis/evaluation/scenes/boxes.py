"""Overlap of boxes: centre, size and, as seventh number, the turn about +y in radians."""

from __future__ import annotations

import numpy as np


def box_overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the intersection over union [P,G] of boxes [P,6|7] and [G,6|7], both of one kind.

    Turned boxes overlap by the area that their plans share, as in VoteNet's `box3d_iou`.
    """
    shared = _aligned(a[:, [1, 4]], b[:, [1, 4]])  # of heights, [P,G]
    if a.shape[1] == 6 and b.shape[1] == 6:
        for axis in (0, 2):
            shared = shared * _aligned(a[:, [axis, axis + 3]], b[:, [axis, axis + 3]])
    else:
        plans = [[plan(box) for box in boxes] for boxes in (a, b)]
        for row, column in np.argwhere(shared > 0):
            shared[row, column] *= common_area(plans[0][row], plans[1][column])
    volumes = a[:, 3:6].prod(1)[:, None] + b[:, 3:6].prod(1)[None]
    return shared / np.maximum(volumes - shared, 1e-12)


def _aligned(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the common length [P,G] of intervals (middle, length)."""
    low = np.maximum((a[:, 0] - a[:, 1] / 2)[:, None], (b[:, 0] - b[:, 1] / 2)[None])
    high = np.minimum((a[:, 0] + a[:, 1] / 2)[:, None], (b[:, 0] + b[:, 1] / 2)[None])
    return np.maximum(high - low, 0.0).astype(np.float64)


def plan(box: np.ndarray) -> np.ndarray:
    """Return the corners (x, z) of a box [6|7] seen from above, in one sense of rotation: [4,2]."""
    turn = float(box[6]) if len(box) == 7 else 0.0
    cos, sin = np.cos(turn), np.sin(turn)
    corner = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) / 2 * [box[3], box[5]]
    # A turn about +y takes (x, z) to (x cos + z sin, z cos - x sin).
    return corner @ np.array([[cos, -sin], [sin, cos]]) + [box[0], box[2]]


def common_area(a: np.ndarray, b: np.ndarray) -> float:
    """Return the common area of two convex polygons [n,2] of one sense (Sutherland-Hodgman)."""
    rest = a
    for start, end in zip(b, np.roll(b, -1, axis=0), strict=True):
        edge = end - start
        side = edge[0] * (rest[:, 1] - start[1]) - edge[1] * (rest[:, 0] - start[0])
        rest = _inner(rest, side)
        if len(rest) < 3:
            return 0.0
    x, z = rest.T
    return float(abs(np.dot(x, np.roll(z, -1)) - np.dot(z, np.roll(x, -1))) / 2)


def _inner(polygon: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Return the part of a polygon where `side` [n] of its corners is not negative."""
    kept = []
    for k, (corner, here) in enumerate(zip(polygon, side, strict=True)):
        after = (k + 1) % len(polygon)
        if here >= 0:
            kept.append(corner)
        if (here >= 0) != (side[after] >= 0):
            kept.append(corner + (polygon[after] - corner) * here / (here - side[after]))
    return np.array(kept).reshape(-1, 2)
