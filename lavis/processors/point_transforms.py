"""Small steps on one point cloud and everything that is known of its points.

A cloud is a `PointFields`: `xyz` [N,3], where coloured `rgb` [N,3] in [0,1], and further
per-point fields (`normal` [N,3], `semantic_label` [N], `pixel_of_point` [N,2] …). `take_points` is
the only way to permute, drop or repeat points, so every field stays in step with its point.
Coordinates of float64 stay so until `Normalize` has moved them to the origin; it returns float32.
Randomness comes from `rng` alone. Up is +y.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import torch

from lavis.common.errors import DataError
from lavis.datasets.readers.values import unit_colors

PointFields = dict[str, np.ndarray]


class Transform(Protocol):
    """A step of a processor."""

    def __call__(self, points: PointFields, rng: np.random.Generator) -> PointFields:
        """Return the changed cloud; the input is left as it is."""
        ...


TransformClass = TypeVar("TransformClass", bound=type[Any])
TRANSFORMS: dict[str, type[Any]] = {}


def register_transform(cls: TransformClass) -> TransformClass:
    """Add a transform to `TRANSFORMS`, whose members are tested to keep fields in step."""
    TRANSFORMS[cls.__name__] = cls
    return cls


def apply_all(
    transforms: Sequence[Transform], points: PointFields, rng: np.random.Generator
) -> PointFields:
    """Apply the steps in order."""
    for transform in transforms:
        points = transform(points, rng)
    return points


def take_points(points: PointFields, index: np.ndarray) -> PointFields:
    """Return the points of `index` (int [M], or bool [N]) with all of their fields."""
    return {name: values[index] for name, values in points.items()}


def split_columns(cloud: np.ndarray) -> PointFields:
    """Return a cloud [N,3|6] as named fields."""
    return {"xyz": cloud[:, :3]} | ({"rgb": cloud[:, 3:6]} if cloud.shape[1] >= 6 else {})


def join_columns(points: PointFields) -> np.ndarray:
    """Return xyz and, where there is colour, rgb as one cloud [N,3|6]."""
    columns = [points[name] for name in ("xyz", "rgb") if name in points]
    return np.concatenate(columns, axis=1)


def turned(points: PointFields, matrix: np.ndarray) -> PointFields:
    """Turn coordinates and normals by a matrix [3,3]."""
    names = [name for name in ("xyz", "normal") if name in points]
    return {**points, **{name: points[name] @ matrix.T for name in names}}


@register_transform
@dataclass(frozen=True)
class SelectColor:
    """Leave the colour out, or make sure that there is one (absent colour is filled).

    Args:
        use_color: keep or add rgb.
        missing_color: grey value in [0,1] for clouds without colour; None refuses them.
    """

    use_color: bool
    missing_color: float | None = None

    def __call__(self, points: PointFields, rng: np.random.Generator) -> PointFields:
        if not self.use_color:
            return {name: values for name, values in points.items() if name != "rgb"}
        if "rgb" in points:
            return {**points, "rgb": _colors(points["rgb"])}
        if self.missing_color is None:
            raise DataError(
                "the cloud has no colour, and use_color is on",
                where="point_processor.*.use_color",
                got=sorted(points),
                expected="rgb beside xyz (6 columns)",
                fix="set missing_color to a grey value in [0,1], or use_color to False",
            )
        grey = np.full_like(points["xyz"], self.missing_color, dtype=np.float32)  # [N,3]
        return {**points, "rgb": grey}


def _colors(rgb: np.ndarray) -> np.ndarray:
    """Return colours in [0,1]; bytes are divided by 255.

    Raises:
        DataError: another range.
    """
    try:
        colors = unit_colors(rgb)
    except ValueError as error:
        raise _no_colors(str(error)) from error
    if colors.rgb is None:
        raise _no_colors(colors.notes["normals"])
    return colors.rgb


def _no_colors(got: str) -> DataError:
    return DataError(
        "the columns after xyz are no colours, and use_color is on",
        where="point_processor.*.use_color",
        got=got,
        expected="rgb in [0,1], or 0 to 255",
        fix="give colours, or set use_color to False",
    )


@register_transform
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

    def __call__(self, points: PointFields, rng: np.random.Generator) -> PointFields:
        return take_points(points, self._chosen(points["xyz"], rng))

    def _chosen(self, xyz: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the indices of the points that stay: [num_points]."""
        available = len(xyz)
        if self.mode == "random":
            chosen = rng.permutation(available)[: self.num_points]
            extra = rng.integers(0, available, max(self.num_points - available, 0))
            return np.concatenate([chosen, extra])
        if self.mode == "fps" and available > self.num_points:
            from lavis.models.point_ops.ops import farthest_point_sample

            local = xyz if xyz.dtype == np.float32 else unit_sphere(xyz)
            cloud = torch.from_numpy(np.ascontiguousarray(local[None]))  # [1,N,3]
            return farthest_point_sample(cloud, self.num_points)[0].numpy()
        return np.arange(self.num_points) % available


@register_transform
@dataclass(frozen=True)
class Normalize:
    """Move the mean to the origin and scale the largest radius to 1."""

    def __call__(self, points: PointFields, rng: np.random.Generator) -> PointFields:
        return {**points, "xyz": unit_sphere(points["xyz"])}


def unit_sphere(xyz: np.ndarray) -> np.ndarray:
    """Return coordinates [N,3] about their mean with the largest radius 1, in float32.

    Float64 is centred in float64, and so is float32 whose squares leave the range of float32. All
    other clouds are computed in float32, as the published results were.
    """
    if xyz.dtype == np.float32:
        with np.errstate(over="ignore", invalid="ignore"):
            centred = xyz - xyz.mean(axis=0, dtype=np.float64).astype(np.float32)
            radius = np.sqrt(np.square(centred).sum(axis=1).max())
        if 1e-12 < radius < np.inf:
            return centred / radius
    wide = xyz.astype(np.float64)
    wide /= max(np.abs(wide).max(), np.finfo(np.float64).tiny)  # squares stay finite
    wide -= wide[0]  # exactly 0 for a cloud in one place
    wide -= wide.mean(axis=0)
    radius = np.sqrt(np.square(wide).sum(axis=1).max())
    return (wide / (radius or 1.0)).astype(np.float32)


@register_transform
@dataclass(frozen=True)
class RotateUp:
    """Turn about the up axis y by a uniform angle within +-`degrees`; 180 is any direction."""

    degrees: float

    def __call__(self, points: PointFields, rng: np.random.Generator) -> PointFields:
        angle = np.deg2rad(rng.uniform(-self.degrees, self.degrees))
        cos, sin = np.cos(angle), np.sin(angle)
        matrix = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]], dtype=np.float32)
        return turned(points, matrix)


@register_transform
@dataclass(frozen=True)
class Scale:
    """Multiply xyz by one uniform factor of [low, high]."""

    low: float
    high: float

    def __call__(self, points: PointFields, rng: np.random.Generator) -> PointFields:
        return {**points, "xyz": points["xyz"] * np.float32(rng.uniform(self.low, self.high))}


@register_transform
@dataclass(frozen=True)
class Shift:
    """Add a uniform offset within +-`distance` to each axis."""

    distance: float

    def __call__(self, points: PointFields, rng: np.random.Generator) -> PointFields:
        offset = rng.uniform(-self.distance, self.distance, 3).astype(np.float32)
        return {**points, "xyz": points["xyz"] + offset}


@register_transform
@dataclass(frozen=True)
class Jitter:
    """Add normal noise of deviation `sigma`, cut at +-`clip`, to each coordinate."""

    sigma: float
    clip: float

    def __call__(self, points: PointFields, rng: np.random.Generator) -> PointFields:
        xyz = points["xyz"]
        noise = rng.standard_normal((len(xyz), 3), dtype=np.float32) * np.float32(self.sigma)
        return {**points, "xyz": xyz + np.clip(noise, -self.clip, self.clip)}


@register_transform
@dataclass(frozen=True)
class DropPoints:
    """Replace a random share of the points, at most `max_ratio`, by the first point.

    The number of points stays, as in PointNet++ and PointBLIP.
    """

    max_ratio: float

    def __call__(self, points: PointFields, rng: np.random.Generator) -> PointFields:
        count = len(points["xyz"])
        dropped = rng.random(count) < rng.uniform(0.0, self.max_ratio)
        return take_points(points, np.where(dropped, 0, np.arange(count)))


@register_transform
@dataclass(frozen=True)
class DropColor:
    """Make the whole cloud `fill` grey with probability `probability`."""

    probability: float
    fill: float = 0.0

    def __call__(self, points: PointFields, rng: np.random.Generator) -> PointFields:
        if rng.random() >= self.probability or "rgb" not in points:
            return points
        return {**points, "rgb": np.full_like(points["rgb"], self.fill)}


@register_transform
@dataclass(frozen=True)
class Tilt:
    """Turn about x, y and z by normal angles of deviation `sigma`, cut at +-`clip` (radians)."""

    sigma: float
    clip: float

    def __call__(self, points: PointFields, rng: np.random.Generator) -> PointFields:
        angles = np.clip(rng.standard_normal(3) * self.sigma, -self.clip, self.clip)
        return turned(points, rotation_xyz(*angles).astype(np.float32))


def rotation_xyz(about_x: float, about_y: float, about_z: float) -> np.ndarray:
    """Return the matrix [3,3] that turns about x first, then y, then z (radians)."""
    cos, sin = np.cos([about_x, about_y, about_z]), np.sin([about_x, about_y, about_z])
    turn_x = np.array([[1, 0, 0], [0, cos[0], -sin[0]], [0, sin[0], cos[0]]])
    turn_y = np.array([[cos[1], 0, sin[1]], [0, 1, 0], [-sin[1], 0, cos[1]]])
    turn_z = np.array([[cos[2], -sin[2], 0], [sin[2], cos[2], 0], [0, 0, 1]])
    return turn_z @ turn_y @ turn_x
