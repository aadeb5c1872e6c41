"""The floor and walls of a room: boards, tiles or carpet, and painted walls."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lavis.datasets.download_scripts.rooms.layout import Layout

# Albedo of floors and walls, uint8; each room draws one and varies it.
WOODS = ((150, 111, 72), (186, 144, 98), (112, 78, 50), (201, 172, 132), (128, 104, 82))
TILES = ((205, 200, 192), (150, 152, 156), (222, 214, 198), (96, 100, 104), (176, 140, 118))
CARPETS = ((122, 128, 120), (150, 62, 52), (72, 84, 112), (168, 156, 132), (92, 92, 96))
PAINTS = ((240, 238, 230), (214, 222, 228), (230, 218, 196), (198, 210, 190), (222, 200, 196))
BOARD, TILE = (0.14, 1.4), (0.33, 0.33)  # metres


@dataclass(frozen=True)
class Shell:
    """Triangles of floor and walls.

    Attributes:
        triangles: float32 [F,3,3].
        colors: uint8 [F,3].
        is_floor: bool [F].
    """

    triangles: np.ndarray
    colors: np.ndarray
    is_floor: np.ndarray


def shell_of(layout: Layout, rng: np.random.Generator) -> Shell:
    """Return the floor and four walls of a room, without a ceiling."""
    floor, floor_colors = _floor(layout.width, layout.depth, rng)
    walls, wall_colors = _walls(layout, rng)
    triangles = np.concatenate([_triangles(floor), _triangles(walls)]).astype(np.float32)
    colors = np.repeat(np.concatenate([floor_colors, wall_colors]), 2, axis=0)
    return Shell(triangles, colors, np.arange(len(triangles)) < 2 * len(floor))


def _floor(width: float, depth: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the pieces of the floor [n,4,3] and their colours [n,3]."""
    kind = rng.integers(3)
    base = np.array((WOODS, TILES, CARPETS)[kind][rng.integers(5)])
    sides = (BOARD, TILE, (width, depth))[kind]
    across, along = (_edges(total, side) for total, side in zip((width, depth), sides))
    x0, z0 = (edges.ravel() for edges in np.meshgrid(across[:-1], along[:-1], indexing="ij"))
    x1, z1 = (edges.ravel() for edges in np.meshgrid(across[1:], along[1:], indexing="ij"))
    y = np.zeros_like(x0)
    corners = [(x0, y, z0), (x0, y, z1), (x1, y, z1), (x1, y, z0)]
    quads = np.stack([np.stack(corner, 1) for corner in corners], 1)  # [n,4,3]
    varied = base * rng.normal(1.0, (0.08, 0.03, 0.0)[kind], (len(quads), 1))
    return quads, np.clip(varied, 0, 255).astype(np.uint8)


def _edges(total: float, side: float) -> np.ndarray:
    """Return the borders of pieces of one side, the last one cut: [n+1], about 0."""
    return np.append(np.arange(0.0, total - 1e-6, side), total) - total / 2


def _walls(layout: Layout, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the four walls [4,4,3] and their colours [4,3]; one wall may be painted otherwise."""
    x, z, y = layout.width / 2, layout.depth / 2, layout.height
    plan = [(-x, -z), (x, -z), (x, z), (-x, z)]
    quads = [
        [(a[0], 0, a[1]), (b[0], 0, b[1]), (b[0], y, b[1]), (a[0], y, a[1])]
        for a, b in zip(plan, plan[1:] + plan[:1])
    ]
    paint = np.tile(PAINTS[rng.integers(len(PAINTS))], (4, 1))
    if rng.random() < 0.4:
        paint[rng.integers(4)] = rng.integers(60, 220, 3)
    return np.array(quads, np.float64), paint.astype(np.uint8)


def _triangles(quads: np.ndarray) -> np.ndarray:
    """Return two triangles for each quad: [2n,3,3]."""
    return quads[:, [[0, 1, 2], [0, 2, 3]]].reshape(-1, 3, 3)
