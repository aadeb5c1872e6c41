"""Corruptions of clouds as by scanners or exports, in five severities.

    jitter        normal noise on every coordinate, deviation 0.01 x severity of the radius
    dropout       a random share of the points is gone
    rotation      a random turn about a random axis by up to 15 degrees x severity
    single_view   only points visible to one camera
    noise         a share of the points becomes clutter, uniform in the bounding sphere
    fewer_points  only every 2nd, 4th, … 32nd point is left

    evaluate.py … --options run.corruptions=[jitter:3,single_view:5]     or  run.corruptions=[all]

Every corrupted split is evaluated in the same launch as the clean one, into files of its own
(`test_jitter_3.json`). Corruption is a function of (seed, object id, kind, severity), before any
processor, so all models receive the same cloud. Kinds follow ModelNet-C [arXiv 2202.03377] and the
"-C" variants of 3D MM-Vet [arXiv 2402.17766]; severities are our own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from lavis.common.errors import ConfigError, nearest
from lavis.datasets.readers.values import native_float
from lavis.evaluation.altered_splits import (
    StoreMaker,
    add_altered_splits,
    alteration_rng,
)

Cloud = np.ndarray
Kind = Callable[[Cloud, int, np.random.Generator], Cloud]
SEVERITIES = (1, 2, 3, 4, 5)
_DROPPED = (0.25, 0.4, 0.55, 0.7, 0.85)
_CLUTTER = (0.05, 0.1, 0.2, 0.3, 0.4)
_DEPTH = (0.4, 0.3, 0.2, 0.1, 0.05)  # a point is seen when so near (in radii) to the front one


def _center_and_radius(cloud: Cloud) -> tuple[np.ndarray, float]:
    center = cloud[:, :3].mean(axis=0)
    return center, float(np.linalg.norm(cloud[:, :3] - center, axis=1).max()) or 1.0


def _moved(cloud: Cloud, xyz: np.ndarray) -> Cloud:
    return np.concatenate([xyz, cloud[:, 3:]], axis=1).astype(cloud.dtype)


def jitter(cloud: Cloud, severity: int, rng: np.random.Generator) -> Cloud:
    """Add normal noise to xyz; [N,3|6] in and out."""
    _, radius = _center_and_radius(cloud)
    noise = rng.standard_normal((len(cloud), 3)) * (0.01 * severity * radius)
    return _moved(cloud, cloud[:, :3] + noise)


def dropout(cloud: Cloud, severity: int, rng: np.random.Generator) -> Cloud:
    """Remove a random share of the points; at least one stays."""
    kept = max(1, round(len(cloud) * (1 - _DROPPED[severity - 1])))
    return cloud[np.sort(rng.permutation(len(cloud))[:kept])]


def rotation(cloud: Cloud, severity: int, rng: np.random.Generator) -> Cloud:
    """Turn about a random axis through the centre (Rodrigues' formula)."""
    center, _ = _center_and_radius(cloud)
    x, y, z = _direction(rng)
    angle = np.deg2rad(rng.uniform(-15.0, 15.0) * severity)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    matrix = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return _moved(cloud, (cloud[:, :3] - center) @ matrix.T + center)


def single_view(cloud: Cloud, severity: int, rng: np.random.Generator) -> Cloud:
    """Keep the points visible to an orthographic camera in a random direction (depth grid)."""
    center, radius = _center_and_radius(cloud)
    view = _direction(rng)
    helper = np.eye(3)[np.abs(view).argmin()]
    right = np.cross(view, helper) / np.linalg.norm(np.cross(view, helper))
    xyz = (cloud[:, :3] - center) / radius
    across, up, depth = xyz @ right, xyz @ np.cross(view, right), xyz @ view
    # Cells hold about four points of a filled disc, so that few gaps let the back shine through.
    cells = max(1, int(np.sqrt(len(cloud) / 4)))
    column = np.clip(((across + 1) / 2 * cells).astype(int), 0, cells - 1)
    row = np.clip(((up + 1) / 2 * cells).astype(int), 0, cells - 1)
    front = np.full(cells * cells, np.inf)
    np.minimum.at(front, row * cells + column, depth)
    return cloud[depth <= front[row * cells + column] + _DEPTH[severity - 1]]


def noise(cloud: Cloud, severity: int, rng: np.random.Generator) -> Cloud:
    """Replace a share of the points by clutter; colours stay with their place in the array."""
    center, radius = _center_and_radius(cloud)
    count = round(len(cloud) * _CLUTTER[severity - 1])
    direction = rng.standard_normal((count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    clutter = center + radius * direction * np.cbrt(rng.random((count, 1)))
    xyz = cloud[:, :3].copy()
    xyz[rng.permutation(len(cloud))[:count]] = clutter
    return _moved(cloud, xyz)


def fewer_points(cloud: Cloud, severity: int, rng: np.random.Generator) -> Cloud:
    """Keep a random 1/2, 1/4, … 1/32 of the points; at least one stays."""
    kept = max(1, len(cloud) >> severity)
    return cloud[np.sort(rng.permutation(len(cloud))[:kept])]


def _direction(rng: np.random.Generator) -> np.ndarray:
    vector = rng.standard_normal(3)
    return vector / np.linalg.norm(vector)


CORRUPTIONS: dict[str, Kind] = {
    "jitter": jitter,
    "dropout": dropout,
    "rotation": rotation,
    "single_view": single_view,
    "noise": noise,
    "fewer_points": fewer_points,
}


@dataclass(frozen=True)
class CorruptedStore:
    """A point store whose clouds are corrupted as they are loaded.

    Attributes:
        store: of the clouds.
        kind: of `CORRUPTIONS`.
        severity: 1 to 5.
        seed: of the randomness, with the object's id.
    """

    store: Any
    kind: str
    severity: int
    seed: int = 0

    def scale(self, object_id: str) -> float:
        """Return the scale of the store."""
        return self.store.scale(object_id)

    def load(self, object_id: str) -> np.ndarray:
        """Return the corrupted cloud [M,3|6], M at most the stored number of points."""
        cloud = native_float(np.asarray(self.store.load(object_id)))
        rng = alteration_rng(self.seed, f"{self.kind}:{self.severity}", object_id)
        return CORRUPTIONS[self.kind](cloud, self.severity, rng)


def parse_corruptions(names: Sequence[str]) -> list[tuple[str, int]]:
    """Read "kind:severity", "kind" (severity 3) or "all" (every kind at severity 3).

    Raises:
        ConfigError: unknown kind or severity.
    """
    wanted = [entry for name in names for entry in (CORRUPTIONS if name == "all" else [name])]
    found = []
    for name in wanted:
        kind, _, severity = name.partition(":")
        if kind not in CORRUPTIONS or (severity or "3") not in map(str, SEVERITIES):
            raise ConfigError(
                f"not a corruption.{nearest(kind, CORRUPTIONS)}",
                where="run.corruptions",
                got=name,
                expected=f"all, or one of {sorted(CORRUPTIONS)} with a severity 1-5: jitter:3",
            )
        found.append((kind, int(severity or 3)))
    return list(dict.fromkeys(found))


def add_corrupted_splits(
    datasets: Mapping[str, dict[str, Any]], splits: Sequence[str], names: Sequence[str], seed: int
) -> list[str]:
    """Add corrupted copies of each split to its data set.

    Args:
        datasets: {data set: {split: dataset with a `point_store`}}; gets the new splits.
        splits: whose objects are corrupted.
        names: as in `parse_corruptions`.
        seed: of the corruption.

    Returns:
        The new splits' names, e.g. "test_jitter_3".
    """
    makers: dict[str, StoreMaker] = {
        f"{kind}_{severity}": partial(corrupted_store, kind=kind, severity=severity, seed=seed)
        for kind, severity in parse_corruptions(names)
    }
    return add_altered_splits(datasets, splits, makers)


def corrupted_store(
    store: Any, ids: Sequence[str], kind: str, severity: int, seed: int
) -> CorruptedStore:
    """Corrupt a store; the ids of its objects are not needed."""
    return CorruptedStore(store, kind, severity, seed)
