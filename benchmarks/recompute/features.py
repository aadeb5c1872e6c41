"""Boxes, occupancy histograms, mean colours and small clouds, from the packed arrays.

Definitions: docstrings of lavis/evaluation/baselines. Coordinates are float32, as the package
stores them: planes of a symmetric part lie exactly between two cells, and rounding decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from benchmarks.recompute.runs import Data

GRID = 6
SAMPLE = 512
BOX_WEIGHT = 0.5
SIZE_COPIES = 6
THINNEST = 1e-3


@dataclass(frozen=True)
class Objects:
    """Features of n objects.

    Attributes:
        ids: [n] object ids.
        boxes: float32 [n,3], edges x, y (up), z in studs.
        histograms: float32 [n,216], share of points in each cell of a 6x6x6 grid.
        colors: float32 [n,3], mean rgb in 0..1.
        clouds: float32 [n,512,3] in studs.
    """

    ids: list[str]
    boxes: np.ndarray
    histograms: np.ndarray
    colors: np.ndarray
    clouds: np.ndarray

    @cached_property
    def log_boxes(self) -> np.ndarray:
        """Natural logarithms of the edges; none below 0.001 of the longest: float32 [n,3]."""
        least = np.maximum(self.boxes.max(axis=1) * THINNEST, 1e-6)  # [n]
        return np.log(np.maximum(self.boxes, least[:, None]))

    @cached_property
    def near_space(self) -> np.ndarray:
        """Root histogram and weighted log box, float32 [n,219]: neighbours by histogram."""
        return np.hstack([np.sqrt(self.histograms), np.sqrt(BOX_WEIGHT) * self.log_boxes])

    def forest_columns(self, with_colors: bool) -> np.ndarray:
        """Return six copies of 8 sizes, histogram, and colours if wanted: float32 [n,264|267]."""
        footprint = np.sort(self.boxes[:, [0, 2]], axis=1)  # [n,2]
        sizes = np.hstack([self.log_boxes, self.boxes[:, [1]], footprint, np.round(footprint)])
        parts = [*[sizes] * SIZE_COPIES, self.histograms]
        return np.hstack([*parts, self.colors] if with_colors else parts).astype(np.float32)


def objects(data: Data, ids: Sequence[str]) -> Objects:
    """Compute the features of some objects, once per set of objects."""
    key = ("features", tuple(ids))
    if key not in data.kept:
        rows = [data.row_of[i] for i in ids]
        clouds = [unit_cloud(data.xyz[row]) for row in rows]
        data.kept[key] = Objects(
            list(ids),
            np.stack([box(data.xyz[row], float(data.scale[row])) for row in rows]),
            np.stack([histogram(cloud) for cloud in clouds]),
            np.stack([mean_color(data.rgb[row]) for row in rows]),
            np.stack([sample(c) * data.scale[row] for c, row in zip(clouds, rows)]),
        )
    return data.kept[key]


def box(packed: np.ndarray, scale: float) -> np.ndarray:
    """Return the edges of the bounding box of a packed cloud int16 [P,3] in studs: float32 [3]."""
    edges = packed.max(axis=0).astype(np.int64) - packed.min(axis=0)
    return (edges / 32767.0 * scale).astype(np.float32)


def unit_cloud(packed: np.ndarray) -> np.ndarray:
    """Unpack a cloud and centre it in the middle of its box: float32 [P,3]."""
    xyz = packed * np.float32(1 / 32767.0)
    return xyz - (xyz.max(axis=0) + xyz.min(axis=0)) / 2


def histogram(cloud: np.ndarray) -> np.ndarray:
    """Return the share of points in each cell of the cube around the unit sphere: float32 [216]."""
    unit = cloud / max(float(np.linalg.norm(cloud, axis=1).max()), 1e-6)
    cells = np.clip(((unit + 1) * (GRID / 2)).astype(np.int64), 0, GRID - 1)  # [P,3]
    counts = np.zeros((GRID, GRID, GRID))
    np.add.at(counts, tuple(cells.T), 1)
    return (counts.ravel() / len(cloud)).astype(np.float32)


def sample(cloud: np.ndarray) -> np.ndarray:
    """Return 512 points of a cloud, drawn by `default_rng(0)`: [512,3]."""
    generator = np.random.default_rng(0)
    return cloud[generator.choice(len(cloud), SAMPLE, replace=len(cloud) < SAMPLE)]


def mean_color(packed: np.ndarray) -> np.ndarray:
    """Return the mean colour of packed rgb uint8 [P,3] in 0..1: float32 [3]."""
    colors = packed * np.float32(1 / 255.0)
    return colors.mean(axis=0, dtype=np.float64).astype(np.float32)


def rounded_footprint(edges: np.ndarray) -> tuple[int, int]:
    """Return both sides of a box's footprint in whole studs, at least 1, the shorter first."""
    first, second = (max(1, round(float(edges[axis]))) for axis in (0, 2))
    return min(first, second), max(first, second)
