"""Keys of equal shapes: moments of the surface, rounded in relative steps.

Vertices are no key: exporters merge, split and reorder them, and rounding to float32 moves one of
ten thousand across any grid. Moments of first and second degree depend on the surface alone, not on
how it is divided into triangles, and few numbers are rarely near the edge of a step.
"""

from __future__ import annotations

import hashlib

import numpy as np

from lavis.datasets.readers.values import extremes

STEP = 1 / 1000  # of moments of coordinates in [-1,1]
SIZE_STEP = 1 / 500  # of the logarithm of the size
COLOR_STEP = 1 / 32


def surface_key(
    vertices: np.ndarray, faces: np.ndarray, area: np.ndarray, middle: np.ndarray
) -> str:
    """Return the key of a shape, whatever its size and place; turned or mirrored ones differ.

    The second moment of a triangle with corners a, b, c and s = a + b + c is the area / 12 times
    ss' + aa' + bb' + cc', so that corners are summed once a vertex.

    Args:
        vertices: float64 [V,3], all in use.
        faces: [F,3].
        area: [F] of the triangles, not all 0.
        middle: [F,3] of the triangles.
    """
    corners, edges = _unit(vertices)
    sums = 3 * (middle - _centre(vertices)) * (2 / edges.max())  # [F,3]
    share = area / area.sum()
    at_corner = np.bincount(faces.ravel(), np.repeat(share, 3), len(vertices))  # [V]
    first = at_corner @ corners / 3
    second = (sums.T @ (share[:, None] * sums) + corners.T @ (at_corner[:, None] * corners)) / 12
    relative_area = area.sum() / edges.max() ** 2
    return _digest([*(edges / edges.max()), relative_area, *first, *second.ravel()], STEP)


def cloud_key(xyz: np.ndarray) -> str:
    """Return the key of a cloud [N,3], whatever its size, place and order of points."""
    unit, edges = _unit(xyz)
    second = unit.T @ unit / len(unit)
    return _digest([*(edges / edges.max()), *unit.mean(axis=0), *second.ravel()], STEP)


def size_key(size: np.ndarray) -> int:
    """Return the step that the largest edge of a box [3] falls into."""
    return int(np.rint(np.log(max(float(np.max(size)), 1e-300)) / SIZE_STEP))


def color_key(xyz: np.ndarray, rgb: np.ndarray | None, weights: np.ndarray | None = None) -> str:
    """Return a key of colours and where they are; "" without colours.

    Args:
        xyz: [N,3].
        rgb: float [N,3] in [0,1].
        weights: [N], e.g. areas; None counts all alike.
    """
    if rgb is None:
        return ""
    share = np.full(len(rgb), 1 / len(rgb)) if weights is None else weights / weights.sum()
    unit, _ = _unit(xyz)
    weighted = share[:, None] * rgb
    return _digest([*weighted.sum(axis=0), *(unit.T @ weighted).ravel()], COLOR_STEP)


def _unit(xyz: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return points in the cube [-1,1] about the middle of their box, and its edges [3]."""
    low, high = extremes(xyz)
    edges = np.maximum(high - low, 1e-300)
    return (xyz - (low + high) / 2) * (2 / edges.max()), edges


def _centre(xyz: np.ndarray) -> np.ndarray:
    """Return the middle of the box of points: [3]."""
    low, high = extremes(xyz)
    return (low + high) / 2


def _digest(values: np.ndarray | list[float], step: float) -> str:
    steps = np.rint(np.asarray(values, np.float64) / step).astype("<i8")
    return hashlib.sha256(steps.tobytes()).hexdigest()[:32]
