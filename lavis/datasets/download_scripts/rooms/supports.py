"""Where on an object another one can stand: its surface from above, as heights on a grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lavis.datasets.download_scripts.rooms.items import ItemMesh

CELL = 0.02  # metres
FLAT = 0.015  # a foot may be so far above the surface
SHARE = 0.7  # of the footprint that has to touch it
MAX_CELLS = 40_000


@dataclass(frozen=True)
class Surface:
    """Heights of an object from above.

    Attributes:
        heights: [X,Z] in metres above its base; NaN where a ray from above meets nothing.
        low: (x, z) of the centre of cell [0,0].
        cell: side of a cell, metres.
    """

    heights: np.ndarray
    low: np.ndarray
    cell: float

    def under(self, x: float, z: float, width: float, depth: float, angle: float) -> np.ndarray:
        """Return the heights under a turned rectangle: [n], empty where it leaves the object."""
        half = np.array([width, depth]) / 2
        steps = [np.linspace(-h, h, max(int(2 * h / self.cell) + 1, 3)) for h in half]
        local = np.stack(np.meshgrid(*steps, indexing="ij"), -1).reshape(-1, 2)  # [n,2]
        cos, sin = np.cos(angle), np.sin(angle)
        points = np.array([x, z]) + local @ np.array([[cos, -sin], [sin, cos]])
        cells = np.rint((points - self.low) / self.cell).astype(int)
        if (cells < 0).any() or (cells >= self.heights.shape).any():
            return np.empty(0)
        return self.heights[cells[:, 0], cells[:, 1]]

    def rest(self, x: float, z: float, width: float, depth: float, angle: float) -> float | None:
        """Return the height at which an object would stand there; None where it would not."""
        heights = self.under(x, z, width, depth, angle)
        if not len(heights) or np.isnan(heights).any():
            return None
        top = float(heights.max())
        return top if (heights > top - FLAT).mean() >= SHARE else None


def surface_of(mesh: ItemMesh) -> Surface:
    """Return the surface of an object, by rays from above."""
    from embreex.mesh_construction import TriangleMesh
    from embreex.rtcore_scene import EmbreeScene

    low, high = mesh.triangles.min((0, 1)), mesh.triangles.max((0, 1))
    width, depth = float(high[0] - low[0]), float(high[2] - low[2])
    cell = max(CELL, float(np.sqrt(width * depth / MAX_CELLS)))
    xs = np.arange(low[0] + cell / 2, high[0], cell)
    zs = np.arange(low[2] + cell / 2, high[2], cell)
    grid = np.stack(np.meshgrid(xs, zs, indexing="ij"), -1)  # [X,Z,2]
    above = float(high[1]) + 1.0
    origins = np.full((grid.shape[0] * grid.shape[1], 3), above, np.float32)
    origins[:, [0, 2]] = grid.reshape(-1, 2)
    down = np.tile(np.array([0, -1, 0], np.float32), (len(origins), 1))
    scene = EmbreeScene(robust=True)
    faces = TriangleMesh(scene, np.ascontiguousarray(mesh.triangles, np.float32))
    hits = scene.run(origins, down, output=1)
    del faces
    heights = np.where(hits["primID"] >= 0, above - hits["tfar"], np.nan)
    return Surface(heights.reshape(grid.shape[:2]), np.array([xs[0], zs[0]]), cell)
