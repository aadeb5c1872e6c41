"""Keys of equal shapes: moments of the surface, rounded in relative steps.

Vertices are no key: exporters merge, split and reorder them, and rounding to float32 moves one of
ten thousand across any grid. Moments up to degree 3 depend on the surface alone, not on how it is
divided into triangles, and few numbers are rarely near the edge of a step.
"""

from __future__ import annotations

import hashlib

import numpy as np

from lavis.datasets.readers.values import extremes

STEP = 1 / 1000  # of moments of coordinates in [-1,1]
SIZE_STEP = 1 / 500  # of the logarithm of the size
COLOR_STEP = 1 / 32
# Exact for polynomials of degree 3 on a triangle: barycentric coordinates and weights.
_NODES = np.array([[1, 1, 1], [1.8, 0.6, 0.6], [0.6, 1.8, 0.6], [0.6, 0.6, 1.8]]) / 3  # [4,3]
_WEIGHTS = np.array([-27.0, 25.0, 25.0, 25.0]) / 48


def surface_key(vertices: np.ndarray, faces: np.ndarray, area: np.ndarray) -> str:
    """Return the key of a shape, whatever its size and place; turned or mirrored ones differ.

    Args:
        vertices: float64 [V,3], all in use.
        faces: [F,3].
        area: [F] of the triangles in any unit, not all 0.
    """
    unit, edges = _unit(vertices)
    corners = unit[faces]  # [F,3,3]
    points = np.concatenate([np.einsum("c,fcd->fd", node, corners) for node in _NODES])  # [4F,3]
    shares = np.concatenate([weight * area for weight in _WEIGHTS]) / area.sum()
    relative_area = area.sum() / edges.max() ** 2
    shape = edges / edges.max()
    return _digest([*shape, relative_area, *_moments(points, shares)], STEP)


def cloud_key(xyz: np.ndarray) -> str:
    """Return the key of a cloud [N,3], whatever its size, place and order of points."""
    unit, edges = _unit(xyz)
    moments = _moments(unit, np.full(len(unit), 1 / len(unit)))
    return _digest([*(edges / edges.max()), *moments], STEP)


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


def _moments(points: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return the weighted means of x, y, z, of their products, and of products of three: [30].

    Args:
        points: [N,3].
        shares: [N], the weights.
    """
    weighted = shares[:, None] * points
    x, y, z = points.T
    products = np.stack([x * x, x * y, x * z, y * y, y * z, z * z])  # [6,N]
    parts = weighted.sum(axis=0), points.T @ weighted, products @ weighted
    return np.concatenate([part.ravel() for part in parts])


def _digest(values: np.ndarray | list[float], step: float) -> str:
    steps = np.rint(np.asarray(values, np.float64) / step).astype("<i8")
    return hashlib.sha256(steps.tobytes()).hexdigest()[:32]
