"""Hand-made features of objects: box, occupancy histogram, mean colour, and a small cloud.

No feature is learned. Histograms and clouds come from the stored cloud, centred in the middle of
its box; histograms in the unit sphere, clouds in the data's own unit (studs).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from lavis.common.errors import DataError
from lavis.datasets.footprints import GROUND
from lavis.datasets.stores.point_stores import check_cloud
from lavis.evaluation.baselines.cache import MANIFEST, code_digest, load_or_compute

GRID = 6
N_CELLS = GRID**3
N_POINTS = 512  # of the cloud for chamfer distances
# Stores that cannot give all boxes at once are read object by object: up to so many.
MAX_READ = 20_000
# Edges below this share of the longest count as so long: no logarithm of zero.
THINNEST = 1e-3
CACHE_FOLDER = "baseline_features"
# Weight of the squared log box against the squared distance of root histograms. val of bricks v2,
# CIDEr of the nearest caption: 0 65.8, 0.05 87.5, 0.2 91.9, 0.6 95.1, 1.0 98.1; the share of
# neighbours of the right category falls above 0.5 (44.1 at 0.4, 41.8 at 1.0).
BOX_WEIGHT = 0.5
# Copies of the size columns for forests. val of bricks v2: 1 copy: stud dimensions 60.6, category
# 46.9; 6 copies: 89.7 and 49.5.
SIZE_REPEATS = 6


@dataclass(frozen=True)
class ObjectFeatures:
    """Features of n objects; None where the store does not have them.

    Attributes:
        ids: [n] object ids.
        boxes: [n,3] float32, edges x, y, z in the data's own unit.
        histograms: [n,216] float32, share of the points in each cell of a 6x6x6 grid.
        colors: [n,3] float32, mean rgb in 0..1.
        clouds: [n,512,3] float32 in the data's own unit, or in the unit sphere without boxes.
    """

    ids: np.ndarray
    boxes: np.ndarray | None = None
    histograms: np.ndarray | None = None
    colors: np.ndarray | None = None
    clouds: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def log_boxes(self) -> np.ndarray | None:
        """Return log edges [n,3], so that equal ratios count equally."""
        return None if self.boxes is None else log_edges(self.boxes)

    def rows(self, ids: Sequence[str]) -> ObjectFeatures:
        """Return the features of some objects, in their order; unknown ones are left out."""
        row_of = {str(name): row for row, name in enumerate(self.ids)}
        index = np.array([row_of[i] for i in map(str, ids) if i in row_of], dtype=np.int64)
        return ObjectFeatures(**{name: array[index] for name, array in as_arrays(self).items()})

    def table(self, colors: bool = True) -> np.ndarray | None:
        """Return the features for forests, float32 [n,F]: sizes, histogram, colours if wanted.

        Sizes are repeated, because a forest draws columns at random and there are 216 cells.
        """
        parts = [] if self.boxes is None else [np.tile(sizes(self.boxes), SIZE_REPEATS)]
        parts += [] if self.histograms is None else [self.histograms]
        parts += [self.colors] if colors and self.colors is not None else []
        return np.concatenate(parts, axis=1).astype(np.float32) if parts else None

    def joint_space(self) -> np.ndarray | None:
        """Return root histograms and weighted log boxes, [n,216..219]; None without histograms.

        Neighbours by histogram and box are neighbours in this space.
        """
        if self.histograms is None:
            return None
        parts = [np.sqrt(self.histograms)]
        parts += [] if self.log_boxes is None else [np.sqrt(BOX_WEIGHT) * self.log_boxes]
        return np.concatenate(parts, axis=1)


def sizes(boxes: np.ndarray) -> np.ndarray:
    """Return log edges, height, sides of the footprint, and these rounded: [n,3] -> [n,8]."""
    ground = np.sort(boxes[:, list(GROUND)], axis=1)  # [n,2] the shorter side first
    return np.concatenate([log_edges(boxes), boxes[:, 1:2], ground, ground.round()], axis=1)


def log_edges(boxes: np.ndarray) -> np.ndarray:
    """Return log edges [n,3] of boxes [n,3]; flat objects have a thinnest edge."""
    longest = boxes.max(axis=1, keepdims=True)
    return np.log(np.maximum(boxes, np.maximum(longest * THINNEST, 1e-6)))


def object_features(store: Any, ids: Sequence[str]) -> ObjectFeatures | None:
    """Return the features of some objects, from the cache where there is one.

    Args:
        store: a point store with `load` and `scale`, with `box_sizes`, or with all three.
        ids: distinct object ids.

    Returns:
        None when the store has neither boxes nor clouds, or has no boxes and too many clouds.
    """
    folder = prepared_folder(store)
    if folder is None or len(store.row_of) > MAX_READ:
        return extract_features(store, ids)
    everything = list(store.row_of)
    key = {"manifest": file_digest(folder / MANIFEST), "ids": text_digest(everything)}
    arrays = load_or_compute(
        folder / CACHE_FOLDER if key["manifest"] else None,
        "features",
        {**key, "code": code_digest(__file__), "sized": hasattr(store, "box_sizes")},
        lambda: as_arrays(extract_features(store, everything)),
    )
    return ObjectFeatures(**arrays).rows(ids) if arrays else None


def prepared_folder(store: Any) -> Path | None:
    """Return the folder of a packed store, where results are cached; None for other stores."""
    folder = getattr(getattr(store, "points", store), "folder", None)
    return Path(folder) if folder is not None and hasattr(store, "row_of") else None


def as_arrays(features: ObjectFeatures | None) -> dict[str, np.ndarray]:
    """Return the arrays that are there, by name."""
    if features is None:
        return {}
    found = {f.name: getattr(features, f.name) for f in fields(features)}
    return {name: array for name, array in found.items() if array is not None}


def extract_features(store: Any, ids: Sequence[str]) -> ObjectFeatures | None:
    """Compute the features of some objects from the store."""
    box_sizes = getattr(store, "box_sizes", None)
    readable = hasattr(store, "load") and len(ids) <= MAX_READ
    if (box_sizes is None and not readable) or not len(ids):
        return None
    boxes = None if box_sizes is None else box_sizes()
    kept = [str(i) for i in ids if boxes is None or str(i) in boxes]
    found: dict[str, np.ndarray] = {}
    if readable:
        kept, found = cloud_features(store, kept, in_own_unit=boxes is not None)
    if not kept:
        return None
    if boxes is not None:
        found["boxes"] = np.stack([np.asarray(boxes[i], dtype=np.float32) for i in kept])  # [n,3]
    return ObjectFeatures(np.array(kept), **found)


def cloud_features(
    store: Any, ids: Sequence[str], in_own_unit: bool
) -> tuple[list[str], dict[str, np.ndarray]]:
    """Compute histograms, mean colours and small clouds; unreadable objects are left out.

    Args:
        store: with `load` and `scale`.
        ids: the objects.
        in_own_unit: small clouds in the data's own unit, else in the unit sphere.

    Returns:
        The ids that could be read, and their arrays.
    """
    kept, histograms, points, colors = [], [], [], []
    for object_id in ids:
        try:
            cloud = check_cloud(store.load(object_id), object_id)
        except DataError as error:
            logging.warning("baselines leave out object %s: %s", object_id, error)
            continue
        xyz = cloud[:, :3] - (cloud[:, :3].max(axis=0) + cloud[:, :3].min(axis=0)) / 2
        xyz = xyz.astype(np.float32, copy=False)  # centred, as float32 loses far coordinates
        unit = xyz / max(float(np.linalg.norm(xyz, axis=1).max()), 1e-6)
        kept.append(object_id)
        histograms.append(occupancy(unit))
        own = xyz * np.float32(store.scale(object_id)) if in_own_unit else unit
        points.append(fixed_points(own))
        colors += [cloud[:, 3:].mean(axis=0, dtype=np.float64)] if cloud.shape[1] == 6 else []
    if not kept:
        return [], {}
    found = {"histograms": np.stack(histograms), "clouds": np.stack(points)}
    if len(colors) == len(kept):
        found["colors"] = np.stack(colors).astype(np.float32)
    return kept, found


def occupancy(xyz: np.ndarray) -> np.ndarray:
    """Return the share of points in each cell of the grid over [-1,1]^3: [N,3] -> [216]."""
    cell = np.clip(((xyz + 1) * (GRID / 2)).astype(np.int64), 0, GRID - 1)
    index = (cell[:, 0] * GRID + cell[:, 1]) * GRID + cell[:, 2]
    return (np.bincount(index, minlength=N_CELLS) / len(xyz)).astype(np.float32)


def fixed_points(xyz: np.ndarray) -> np.ndarray:
    """Draw 512 points of a cloud, always the same ones: [N,3] -> [512,3]."""
    rng = np.random.default_rng(0)
    return xyz[rng.choice(len(xyz), N_POINTS, replace=len(xyz) < N_POINTS)]


def text_digest(texts: Sequence[str]) -> str:
    """Return a sha256 of some texts and their order."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def file_digest(path: Path) -> str | None:
    """Return the sha256 of a small file; None when it is not there."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None
