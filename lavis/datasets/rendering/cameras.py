"""Pinhole cameras: where a pixel looks, and where a point appears.

Pixel (column, row) covers [column, column+1) x [row, row+1); its ray goes through the centre.
Camera axes are right, down and forward, as in OpenCV. Depth is along forward, not along the ray.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lavis.common.errors import ConfigError


@dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    Attributes:
        position: [3] in the world.
        rotation: [3,3] from world to camera; its rows are right, down and forward.
        focal: focal length in pixels, or [2] across and down.
        width, height: of the image in pixels.
        axis: [2] where the optical axis meets the image, column and row; None: in the middle.
    """

    position: np.ndarray
    rotation: np.ndarray
    focal: float | np.ndarray
    width: int
    height: int
    axis: np.ndarray | None = None

    @property
    def centre(self) -> np.ndarray:
        """Return the intersection of optical axis and image: [2], column and row."""
        return np.array([self.width, self.height]) / 2 if self.axis is None else self.axis

    def pixels(self) -> np.ndarray:
        """Return the centres of all pixels, row by row: [H*W,2] as (column, row)."""
        rows, columns = np.mgrid[: self.height, : self.width] + 0.5
        return np.stack([columns.ravel(), rows.ravel()], 1)

    def directions(self, pixels: np.ndarray) -> np.ndarray:
        """Return where pixels [P,2] look: [P,3] in the world, one unit along forward."""
        plane = (pixels - self.centre) / self.focal  # [P,2]
        return np.concatenate([plane, np.ones((len(plane), 1))], 1) @ self.rotation

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return where points [N,3] appear: pixels [N,2] and depth [N] (negative: behind)."""
        seen = (points - self.position) @ self.rotation.T  # [N,3]
        return self.focal * seen[:, :2] / seen[:, 2:] + self.centre, seen[:, 2]

    def back_project(self, pixels: np.ndarray, depth: np.ndarray) -> np.ndarray:
        """Return the points [P,3] at a depth [P] behind pixels [P,2]; the inverse of `project`."""
        return self.position + depth[:, None] * self.directions(pixels)


def look_at(
    position: Sequence[float] | np.ndarray,
    target: Sequence[float] | np.ndarray = (0.0, 0.0, 0.0),
    *,
    up: Sequence[float] = (0.0, 1.0, 0.0),
    field_of_view: float = 40.0,
    width: int = 224,
    height: int = 224,
) -> Camera:
    """Return the camera at a position that looks at a target.

    Args:
        position, target: in the world, at different places.
        up: points up in the image; not along the line of sight.
        field_of_view: across the image's width, degrees.
        width, height: in pixels.

    Raises:
        ConfigError: no direction, or `up` along it.
    """
    position, target = np.asarray(position, np.float64), np.asarray(target, np.float64)
    forward = target - position
    right = np.cross(forward, np.asarray(up, np.float64))
    if np.linalg.norm(right) < 1e-9:
        what = "a camera needs a target, and an up that is not the line of sight"
        got = f"position {position}, target {target}, up {up}"
        raise ConfigError(what, where="camera", got=got)
    forward, right = forward / np.linalg.norm(forward), right / np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    focal = width / (2 * np.tan(np.radians(field_of_view) / 2))
    return Camera(position, rotation, float(focal), width, height)


def ring(
    views: int, *, elevation: float = 25.0, field_of_view: float = 40.0, size: int = 224
) -> list[Camera]:
    """Return cameras around the unit sphere that see all of it, evenly turned about +y.

    Args:
        views: number of cameras; the first is turned by 30 degrees, so that no box is seen face on.
        elevation: above the horizon, degrees.
        field_of_view: degrees.
        size: width and height, pixels.
    """
    distance = 1.02 / np.sin(np.radians(field_of_view) / 2)
    height, radius = np.sin(np.radians(elevation)), np.cos(np.radians(elevation))
    turns = np.radians(30 + 360 * np.arange(views) / views)
    places = np.stack([radius * np.sin(turns), np.full(views, height), radius * np.cos(turns)], 1)
    return [
        look_at(distance * place, field_of_view=field_of_view, width=size, height=size)
        for place in places
    ]
