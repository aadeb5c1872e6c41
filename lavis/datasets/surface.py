"""Draw points on the surface of a triangle mesh, uniformly by area."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lavis.common.errors import DataError


class SurfacePoints(NamedTuple):
    """Points on a mesh.

    Attributes:
        xyz: float64 [P,3] in the frame of the mesh.
        face: int64 [P], the triangle that a point lies on.
        weights: float64 [P,2], shares of the triangle's second and third corner; the first has the
            rest.
    """

    xyz: np.ndarray
    face: np.ndarray
    weights: np.ndarray

    def interpolate(self, values: np.ndarray, faces: np.ndarray) -> np.ndarray:
        """Return values of vertices [V,C] at the points: float64 [P,C].

        Args:
            values: one row per vertex.
            faces: int [F,3] of the mesh.
        """
        a, b, c = (values[faces[self.face, corner]].astype(np.float64) for corner in range(3))
        return a + self.weights[:, :1] * (b - a) + self.weights[:, 1:] * (c - a)


def sample_surface(
    vertices: np.ndarray,
    faces: np.ndarray,
    num_points: int,
    rng: np.random.Generator,
    area: np.ndarray | None = None,
) -> SurfacePoints:
    """Draw points uniformly by area; triangles without area are never drawn.

    Args:
        vertices: [V,3].
        faces: [F,3].
        num_points: P.
        rng: the only source of randomness.
        area: [F] of the triangles, where it is known.

    Raises:
        DataError: the mesh has no area.
    """
    total = np.cumsum(triangle_areas(vertices, faces) if area is None else area)
    if len(total) == 0 or not np.isfinite(total[-1]) or total[-1] <= 0:
        raise DataError("a mesh has no surface", got=f"{len(faces)} faces, area 0")
    chosen = np.searchsorted(total, rng.random(num_points) * total[-1], side="right")
    chosen = np.minimum(chosen, len(faces) - 1)
    weights = rng.random((num_points, 2))  # [P,2]
    outside = weights.sum(axis=1) > 1.0
    weights[outside] = 1.0 - weights[outside]  # fold the square onto the triangle
    a, b, c = (vertices[faces[chosen, corner]] for corner in range(3))  # each [P,3]
    xyz = a + weights[:, :1] * (b - a) + weights[:, 1:] * (c - a)
    return SurfacePoints(xyz, chosen, weights)


def triangle_areas(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return the area of every triangle: [F]."""
    return areas_and_middles(vertices, faces)[0]


def areas_and_middles(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the area [F] and the middle [F,3] of every triangle.

    Args:
        vertices: [V,3].
        faces: [F,3].
    """
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))  # each [F,3]
    ux, uy, uz = (b - a).T
    vx, vy, vz = (c - a).T
    x, y, z = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
    return np.sqrt(x**2 + y**2 + z**2) / 2, (a + b + c) / 3
