"""Keys of equal shapes: moments of the surface, rounded in relative steps.

Vertices are no key: exporters merge, split and reorder them, and rounding to float32 moves one of
ten thousand across any grid. Moments up to degree 3 depend on the surface alone, not on how it is
divided into triangles, and few numbers are rarely near the edge of a step.
"""

from __future__ import annotations

import hashlib
from itertools import product

import numpy as np

STEP = 1 / 1000  # of moments of coordinates in [-1,1]
SIZE_STEP = 1 / 500  # of the logarithm of the size
COLOR_STEP = 1 / 32
_POWERS = np.array([p for p in product(range(4), repeat=3) if 0 < sum(p) <= 3])  # [19,3]
# Exact for polynomials of degree 3 on a triangle: barycentric coordinates and weights.
_NODES = np.array([[1, 1, 1], [1.8, 0.6, 0.6], [0.6, 1.8, 0.6], [0.6, 0.6, 1.8]]) / 3  # [4,3]
_WEIGHTS = np.array([-27.0, 25.0, 25.0, 25.0]) / 48


def surface_key(vertices: np.ndarray, faces: np.ndarray) -> str:
    """Return the key of a shape, whatever its size and place; turned or mirrored ones differ.

    Args:
        vertices: float64 [V,3], all in use.
        faces: [F,3], not all without area.
    """
    corners = _unit(vertices)[faces]  # [F,3,3]
    edges = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = np.linalg.norm(np.cross(*edges), axis=1) / 2  # [F]
    total = area.sum()
    moments = np.zeros(len(_POWERS))
    for node, weight in zip(_NODES, _WEIGHTS):
        moments += weight * (area @ _monomials(np.einsum("c,fcd->fd", node, corners)))
    return _digest([*np.ptp(_unit(vertices), axis=0), total / 8, *(moments / total)], STEP)


def cloud_key(xyz: np.ndarray) -> str:
    """Return the key of a cloud [N,3], whatever its size, place and order of points."""
    unit = _unit(xyz)
    return _digest([*np.ptp(unit, axis=0), *_monomials(unit).mean(axis=0)], STEP)


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
    unit = _unit(xyz)
    placed = [share @ (rgb * unit[:, axis : axis + 1]) for axis in range(3)]
    return _digest(np.concatenate([share @ rgb, *placed]), COLOR_STEP)


def _unit(xyz: np.ndarray) -> np.ndarray:
    """Return points in the cube [-1,1] about the middle of their box."""
    low, high = xyz.min(axis=0), xyz.max(axis=0)
    return (xyz - (low + high) / 2) * (2 / max(float((high - low).max()), 1e-300))


def _monomials(xyz: np.ndarray) -> np.ndarray:
    """Return x, y, z, xx, xy, … up to degree 3: [N,19]."""
    powers = np.stack([np.ones_like(xyz), xyz, xyz**2, xyz**3])  # [4,N,3]
    x, y, z = (powers[_POWERS[:, axis], :, axis] for axis in range(3))  # each [19,N]
    return (x * y * z).T


def _digest(values: np.ndarray | list[float], step: float) -> str:
    steps = np.rint(np.asarray(values, np.float64) / step).astype("<i8")
    return hashlib.sha256(steps.tobytes()).hexdigest()[:32]
