"""Small steps on one point cloud: float32 [N,3|6] in, float32 out, randomness from `rng` alone.

Columns are xyz and, when there are six, rgb in [0,1]. Up is +y.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from lavis.common.errors import DataError, explain


class Transform(Protocol):
    """A step of a processor."""

    def __call__(self, cloud: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the changed cloud; the input is left as it is."""
        ...


def apply_all(
    transforms: Sequence[Transform], cloud: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Apply the steps in order."""
    for transform in transforms:
        cloud = transform(cloud, rng)
    return cloud


@dataclass(frozen=True)
class SelectColor:
    """Bring the cloud to 3 columns (no colour) or 6 (colour; absent colour is filled).

    Args:
        use_color: keep or add rgb.
        missing_color: grey value in [0,1] for clouds without colour; None refuses them.
    """

    use_color: bool
    missing_color: float | None = None

    def __call__(self, cloud: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if not self.use_color:
            return cloud[:, :3]
        if cloud.shape[1] >= 6:
            return cloud[:, :6]
        if self.missing_color is None:
            raise DataError(
                explain(
                    "the cloud has no colour, and use_color is on",
                    where="point_processor.*.use_color",
                    got=f"{cloud.shape[1]} columns",
                    expected="6 columns (xyz, rgb)",
                    fix="set missing_color to a grey value in [0,1], or use_color to False",
                )
            )
        fill = np.full((len(cloud), 3), self.missing_color, dtype=np.float32)
        return np.concatenate([cloud[:, :3], fill], axis=1)  # [N,6]


@dataclass(frozen=True)
class Resample:
    """Bring the cloud to `num_points` points.

    Fewer points are repeated (in order for "first" and "fps", at random for "random").

    Args:
        num_points: points afterwards.
        mode: "random" without replacement; "first" the leading ones, a fair sample when points
            were drawn independently, as ours are; "fps" exact farthest-point sampling from point 0.
    """

    num_points: int
    mode: str

    def __call__(self, cloud: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        available = len(cloud)
        if self.mode == "random":
            chosen = rng.permutation(available)[: self.num_points]
            extra = rng.integers(0, available, max(self.num_points - available, 0))
            return cloud[np.concatenate([chosen, extra])]
        if self.mode == "fps" and available > self.num_points:
            from lavis.models.point_ops.ops import farthest_point_sample

            xyz = torch.from_numpy(np.ascontiguousarray(cloud[None, :, :3]))  # [1,N,3]
            return cloud[farthest_point_sample(xyz, self.num_points)[0].numpy()]
        return cloud[np.arange(self.num_points) % available]


@dataclass(frozen=True)
class Normalize:
    """Move the mean to the origin and scale the largest radius to 1."""

    def __call__(self, cloud: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        xyz = cloud[:, :3] - cloud[:, :3].mean(axis=0, dtype=np.float64).astype(np.float32)
        radius = np.sqrt(np.square(xyz).sum(axis=1).max())
        return _with_xyz(cloud, xyz / max(radius, np.float32(1e-12)))


@dataclass(frozen=True)
class RotateUp:
    """Turn about the up axis y by a uniform angle within +-`degrees`; 180 is any direction."""

    degrees: float

    def __call__(self, cloud: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        angle = np.deg2rad(rng.uniform(-self.degrees, self.degrees))
        cos, sin = np.cos(angle), np.sin(angle)
        matrix = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]], dtype=np.float32)
        return _with_xyz(cloud, cloud[:, :3] @ matrix.T)


@dataclass(frozen=True)
class Scale:
    """Multiply xyz by one uniform factor of [low, high]."""

    low: float
    high: float

    def __call__(self, cloud: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return _with_xyz(cloud, cloud[:, :3] * np.float32(rng.uniform(self.low, self.high)))


@dataclass(frozen=True)
class Shift:
    """Add a uniform offset within +-`distance` to each axis."""

    distance: float

    def __call__(self, cloud: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        offset = rng.uniform(-self.distance, self.distance, 3).astype(np.float32)
        return _with_xyz(cloud, cloud[:, :3] + offset)


@dataclass(frozen=True)
class Jitter:
    """Add normal noise of deviation `sigma`, cut at +-`clip`, to each coordinate."""

    sigma: float
    clip: float

    def __call__(self, cloud: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        noise = rng.standard_normal((len(cloud), 3), dtype=np.float32) * np.float32(self.sigma)
        return _with_xyz(cloud, cloud[:, :3] + np.clip(noise, -self.clip, self.clip))


@dataclass(frozen=True)
class DropPoints:
    """Replace a random share of the points, at most `max_ratio`, by the first point.

    The number of points stays, as in PointNet++ and PointBLIP.
    """

    max_ratio: float

    def __call__(self, cloud: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        dropped = rng.random(len(cloud)) < rng.uniform(0.0, self.max_ratio)
        return np.where(dropped[:, None], cloud[:1], cloud)


@dataclass(frozen=True)
class DropColor:
    """Make the whole cloud `fill` grey with probability `probability`."""

    probability: float
    fill: float = 0.0

    def __call__(self, cloud: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if rng.random() >= self.probability or cloud.shape[1] < 6:
            return cloud
        grey = np.full((len(cloud), 3), self.fill, dtype=np.float32)
        return np.concatenate([cloud[:, :3], grey], axis=1)


def _with_xyz(cloud: np.ndarray, xyz: np.ndarray) -> np.ndarray:
    return np.concatenate([xyz, cloud[:, 3:]], axis=1) if cloud.shape[1] > 3 else xyz
