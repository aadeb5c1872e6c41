"""A mesh as parts, each with what gives it colour, whatever the format."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

import numpy as np

from lavis.datasets.surface import SurfacePoints


@dataclass(frozen=True)
class Paint:
    """What the colour of a part is made of; the factors that are there are multiplied.

    Attributes:
        vertex_rgb: float [V,3] in [0,1], interpolated between the corners.
        face_rgb: float [F,3] in [0,1].
        image: uint8 [H,W,3], the texture; looked up at `uv` without interpolation.
        uv: float [V,2]; (0, 0) is the lower left corner of the image, and the image repeats.
        base: float [3] in [0,1], the colour of the material.
    """

    vertex_rgb: np.ndarray | None = None
    face_rgb: np.ndarray | None = None
    image: np.ndarray | None = None
    uv: np.ndarray | None = None
    base: np.ndarray | None = None

    def at(self, points: SurfacePoints, faces: np.ndarray) -> np.ndarray | None:
        """Return colours of points on the part, float [P,3] in [0,1]; None where nothing is known.

        Args:
            points: drawn on the part; `face` counts its own triangles.
            faces: int [F,3] of the part.
        """
        factors = []
        if self.vertex_rgb is not None:
            factors.append(points.interpolate(self.vertex_rgb, faces))
        if self.face_rgb is not None:
            factors.append(self.face_rgb[points.face])
        if self.image is not None and self.uv is not None:
            factors.append(look_up(self.image, points.interpolate(self.uv, faces)))
        if self.base is not None:
            factors.append(np.broadcast_to(self.base, points.xyz.shape))
        return reduce(np.multiply, factors) if factors else None


def look_up(image: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Return the colours of a texture: float [P,3] in [0,1].

    Args:
        image: uint8 [H,W,3], the first row at the top.
        uv: [P,2] from the lower left corner; values outside [0,1] repeat the image.
    """
    height, width = image.shape[:2]
    uv = np.nan_to_num(uv, nan=0.0, posinf=0.0, neginf=0.0) % 1.0
    column = np.minimum((uv[:, 0] * width).astype(np.int64), width - 1)
    row = np.minimum(((1.0 - uv[:, 1]) * height).astype(np.int64), height - 1)
    return image[row, column] / 255.0


@dataclass(frozen=True)
class Part:
    """Triangles with one paint.

    Attributes:
        vertices: float64 [V,3] in the frame of the file.
        faces: int64 [F,3].
        paint: what gives colour.
    """

    vertices: np.ndarray
    faces: np.ndarray
    paint: Paint


class Mesh(NamedTuple):
    """The parts of a file, and notes {kind: what a user should know of the reading}."""

    parts: list[Part]
    notes: dict[str, str]


def joined(parts: list[Part]) -> tuple[np.ndarray, np.ndarray]:
    """Return the vertices float64 [V,3] that any triangle uses, and the triangles int64 [F,3].

    Raises:
        ValueError: no triangles, or vertices of triangles with NaN or infinity.
    """
    starts = np.cumsum([0, *(len(part.vertices) for part in parts)])
    faces = [part.faces + start for part, start in zip(parts, starts)]
    triangles = np.concatenate(faces) if faces else np.empty((0, 3), np.int64)
    if not len(triangles):
        raise ValueError("a mesh without faces")
    vertices = np.concatenate([part.vertices for part in parts]).astype(np.float64, copy=False)
    is_used = np.zeros(len(vertices), bool)
    is_used[triangles] = True
    if not is_used.all():
        vertices, triangles = vertices[is_used], (np.cumsum(is_used) - 1)[triangles]
    if not np.isfinite(vertices).all():
        bad = int((~np.isfinite(vertices)).any(axis=1).sum())
        raise ValueError(f"{bad:,} of {len(vertices):,} vertices with NaN or infinity")
    return vertices, triangles


def paint_points(parts: list[Part], points: SurfacePoints, unknown: float) -> np.ndarray | None:
    """Return the colours of points that were drawn on the joined parts: float [P,3] in [0,1].

    Args:
        parts: as joined.
        points: `face` counts the triangles of all parts.
        unknown: value of the parts without colour, where others have one.

    Returns:
        The colours; None where no part has any.
    """
    if len(parts) == 1:
        colors = parts[0].paint.at(points, parts[0].faces)
        return None if colors is None else np.clip(colors, 0.0, 1.0)
    ends = np.cumsum([len(part.faces) for part in parts])
    owner = np.searchsorted(ends, points.face, side="right")  # [P]
    order = np.argsort(owner, kind="stable")
    bounds = np.searchsorted(owner[order], np.arange(len(parts) + 1))
    rgb, is_known = np.full(points.xyz.shape, unknown), False
    for part, end, low, high in zip(parts, ends, bounds, bounds[1:]):
        mine = order[low:high]
        face = points.face[mine] - (end - len(part.faces))
        own = SurfacePoints(points.xyz[mine], face, points.weights[mine])
        colors = part.paint.at(own, part.faces)
        if colors is not None:
            rgb[mine], is_known = colors, True
    return np.clip(rgb, 0.0, 1.0) if is_known else None
