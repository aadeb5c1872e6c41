"""Upright boxes: how deep two of them overlap, and which axis-aligned box contains one.

Up is +y. An object's front is +z before it is turned; a positive angle turns +z towards +x.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class UprightBox:
    """A box that is turned about +y alone.

    Attributes:
        x, z: of its centre, metres.
        base: height of its lower side, metres.
        size: (width, height, depth) along its own x, y and z, metres.
        angle: by which it is turned, radians.
    """

    x: float
    z: float
    base: float
    size: tuple[float, float, float]
    angle: float = 0.0

    @property
    def top(self) -> float:
        """Height of the upper side."""
        return self.base + self.size[1]

    @property
    def axes(self) -> np.ndarray:
        """The directions of its width and depth in the plane (x, z): [2,2], unit rows."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return np.array([[cos, -sin], [sin, cos]])

    def corners(self) -> np.ndarray:
        """Return the four corners of the footprint: [4,2] as (x, z)."""
        half = np.array([self.size[0], self.size[2]]) / 2
        signs = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
        return np.array([self.x, self.z]) + (signs * half) @ self.axes

    def place(self, right: float, front: float) -> tuple[float, float]:
        """Return the point (x, z) so far to the right and to the front of the centre."""
        x, z = np.array([self.x, self.z]) + np.array([right, front]) @ self.axes
        return float(x), float(z)

    def aligned(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the low and high corner [3] of the axis-aligned box around it."""
        corners = self.corners()
        (low_x, low_z), (high_x, high_z) = corners.min(0), corners.max(0)
        return np.array([low_x, self.base, low_z]), np.array([high_x, self.top, high_z])


def penetration(first: UprightBox, second: UprightBox) -> float:
    """Return how far one box has to move until both are apart; negative: the gap on one axis.

    Boxes of one orientation get the exact distance. For others a gap may be larger than returned.
    """
    depth = min(first.top, second.top) - max(first.base, second.base)
    corners = first.corners(), second.corners()
    for axis in (*first.axes, *second.axes):
        a, b = corners[0] @ axis, corners[1] @ axis
        depth = min(depth, min(a.max(), b.max()) - max(a.min(), b.min()))
    return float(depth)
