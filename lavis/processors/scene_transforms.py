"""Transforms of scenes in metres, by name: scene_train (random) and scene_eval (fixed).

Scenes keep their scale and their up axis +y; nothing is normalised. The random steps are those of
indoor segmentation (SparseConvNet's elastic distortion, the colour steps of Minkowski networks,
sphere crops as in Pointcept), with the up axis y where those releases have z. Without colour, the
colour steps change nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from lavis.common.registry import registry
from lavis.processors.options import read_options, require
from lavis.processors.point_processors import PointProcessor
from lavis.processors.point_transforms import (
    DropColor,
    Jitter,
    PointFields,
    Resample,
    RotateUp,
    Scale,
    SelectColor,
    Transform,
    register_transform,
    take_points,
)

CROPS = ("none", "box", "sphere")
_GRID_MARGIN = 2  # cells of the noise around a scene


@register_transform
@dataclass(frozen=True)
class CropBox:
    """Keep the points of an upright column around a random point.

    Args:
        side: of its square base, metres; the height is not cut.
    """

    side: float

    def __call__(self, points: PointFields, rng: np.random.Generator) -> PointFields:
        xyz = points["xyz"]
        centre = xyz[rng.integers(len(xyz))]
        away = np.abs(xyz[:, [0, 2]] - centre[[0, 2]]).max(axis=1)
        return take_points(points, away <= self.side / 2)


@register_transform
@dataclass(frozen=True)
class CropSphere:
    """Keep the points near a random point.

    Args:
        radius: of the sphere, metres.
    """

    radius: float

    def __call__(self, points: PointFields, rng: np.random.Generator) -> PointFields:
        xyz = points["xyz"]
        away = np.square(xyz - xyz[rng.integers(len(xyz))]).sum(axis=1)
        return take_points(points, away <= self.radius**2)


@register_transform
@dataclass(frozen=True)
class Elastic:
    """Move points by smooth noise.

    Args:
        cell: distance of the noise's grid points, metres.
        magnitude: deviation of the noise before smoothing, metres.
        probability: of doing it.
    """

    cell: float
    magnitude: float
    probability: float = 1.0

    def __call__(self, points: PointFields, rng: np.random.Generator) -> PointFields:
        if rng.random() >= self.probability:
            return points
        xyz = points["xyz"]
        low = xyz.min(axis=0)
        shape = np.ceil((xyz.max(axis=0) - low) / self.cell).astype(int) + 1 + 2 * _GRID_MARGIN
        noise = rng.standard_normal((3, *shape), dtype=np.float32)
        for axis in (1, 2, 3, 1, 2, 3):  # twice a mean over three cells on every axis
            noise = ndimage.uniform_filter1d(noise, 3, axis=axis, mode="constant")
        places = ((xyz - low) / self.cell + _GRID_MARGIN).T  # [3,N]
        offset = [ndimage.map_coordinates(part, places, order=1) for part in noise]
        moved = xyz + np.float32(self.magnitude) * np.stack(offset, axis=1)
        return {**points, "xyz": moved.astype(xyz.dtype, copy=False)}


@register_transform
@dataclass(frozen=True)
class ColorContrast:
    """Stretch each colour channel to [0,1], mixed with the colours as they are.

    Args:
        probability: of doing it; the share of the stretched colours is uniform in [0,1].
    """

    probability: float

    def __call__(self, points: PointFields, rng: np.random.Generator) -> PointFields:
        if rng.random() >= self.probability or "rgb" not in points:
            return points
        rgb, share = points["rgb"], np.float32(rng.random())
        low, high = rgb.min(axis=0), rgb.max(axis=0)
        stretched = (rgb - low) / np.maximum(high - low, np.float32(1e-3))
        return {**points, "rgb": rgb + share * (stretched - rgb)}


@register_transform
@dataclass(frozen=True)
class ColorJitter:
    """Shift all colours by one uniform offset a channel, and each colour by normal noise.

    Args:
        shift: largest offset, of a range of 1.
        sigma: deviation of the noise.
    """

    shift: float
    sigma: float

    def __call__(self, points: PointFields, rng: np.random.Generator) -> PointFields:
        offset = rng.uniform(-self.shift, self.shift, 3).astype(np.float32)
        if "rgb" not in points:
            return points
        noise = rng.standard_normal((len(points["rgb"]), 3), dtype=np.float32)
        moved = points["rgb"] + offset + np.float32(self.sigma) * noise
        return {**points, "rgb": np.clip(moved, 0.0, 1.0)}


_SHARED: dict[str, Any] = {"num_points": 40_000, "use_color": True, "missing_color": None}
TRAIN_DEFAULTS: dict[str, Any] = {
    **_SHARED,
    "crop": "none",
    "crop_size": 3.0,
    "rotate_degrees": 180.0,
    "scale_low": 0.9,
    "scale_high": 1.1,
    "elastic_cell": 0.2,
    "elastic_magnitude": 0.4,
    "elastic_probability": 0.5,
    "jitter_sigma": 0.005,
    "jitter_clip": 0.02,
    "contrast": 0.2,
    "color_shift": 0.05,
    "color_sigma": 0.02,
    "color_drop": 0.1,
}
EVAL_DEFAULTS: dict[str, Any] = _SHARED
_AT_LEAST_0 = ("elastic_magnitude", "jitter_sigma", "jitter_clip", "color_shift", "color_sigma")
_PROBABILITIES = ("elastic_probability", "contrast", "color_drop")


@registry.register_processor("scene_train")
class SceneTrainProcessor(PointProcessor):
    """Crop, resample, turn about the up axis, scale, distort, jitter, change or drop colours."""

    @classmethod
    def from_config(cls, cfg: Mapping[str, Any] | None = None) -> SceneTrainProcessor:
        """Read the keys of `TRAIN_DEFAULTS`; a strength of 0 leaves its step out.

        Raises:
            ConfigError: an unknown key, another type, or a value out of range.
        """
        options = read_options(cfg, TRAIN_DEFAULTS, "scene_train")
        _check(options, "scene_train")
        color, *count = _fixed(options, "random", "scene_train")
        return cls([color, *_crop(options), *count, *_moves(options), *_colors(options)])


@registry.register_processor("scene_eval")
class SceneEvalProcessor(PointProcessor):
    """No randomness, and no point moves: select colour, keep the first `num_points` points."""

    @classmethod
    def from_config(cls, cfg: Mapping[str, Any] | None = None) -> SceneEvalProcessor:
        """Read the keys of `EVAL_DEFAULTS`; a `num_points` of 0 keeps all.

        Raises:
            ConfigError: an unknown key, another type, or a value out of range.
        """
        options = read_options(cfg, EVAL_DEFAULTS, "scene_eval")
        return cls(_fixed(options, "first", "scene_eval"))


def _fixed(options: Mapping[str, Any], mode: str, name: str) -> list[Transform]:
    """Return the selection of colour, and where `num_points` is not 0 the resampling."""
    count, missing = options["num_points"], options["missing_color"]
    require(count >= 0, f"{name}.num_points", count, "at least 1, or 0 for all points")
    grey = missing is None or (isinstance(missing, (int, float)) and 0 <= missing <= 1)
    require(grey, f"{name}.missing_color", missing, "null or a grey value in [0,1]")
    color = SelectColor(options["use_color"], missing)
    return [color, Resample(count, mode)] if count else [color]


def _check(options: Mapping[str, Any], name: str) -> None:
    require(options["crop"] in CROPS, f"{name}.crop", options["crop"], str(CROPS))
    for key in ("crop_size", "elastic_cell"):
        require(options[key] > 0, f"{name}.{key}", options[key], "above 0 metres")
    for key in _AT_LEAST_0:
        require(options[key] >= 0, f"{name}.{key}", options[key], "at least 0")
    for key in _PROBABILITIES:
        require(0 <= options[key] <= 1, f"{name}.{key}", options[key], "in [0,1]")
    turn = options["rotate_degrees"]
    require(0 <= turn <= 180, f"{name}.rotate_degrees", turn, "0 to 180")
    scales = (options["scale_low"], options["scale_high"])
    require(0 < scales[0] <= scales[1], f"{name}.scale_low", scales, "0 < scale_low <= scale_high")


def _crop(options: Mapping[str, Any]) -> list[Transform]:
    size = options["crop_size"]
    crops: dict[str, list[Transform]] = {"box": [CropBox(size)], "sphere": [CropSphere(size / 2)]}
    return crops.get(options["crop"], [])


def _moves(options: Mapping[str, Any]) -> list[Transform]:
    """Return the random steps that change coordinates."""
    scales = (options["scale_low"], options["scale_high"])
    elastic = (options["elastic_cell"], options["elastic_magnitude"])
    chance = options["elastic_probability"]
    steps: list[tuple[bool, Transform]] = [
        (options["rotate_degrees"] > 0, RotateUp(options["rotate_degrees"])),
        (scales != (1.0, 1.0), Scale(*scales)),
        (elastic[1] * chance > 0, Elastic(*elastic, chance)),
        (options["jitter_sigma"] > 0, Jitter(options["jitter_sigma"], options["jitter_clip"])),
    ]
    return [step for is_wanted, step in steps if is_wanted]


def _colors(options: Mapping[str, Any]) -> list[Transform]:
    """Return the random steps that change colours."""
    if not options["use_color"]:
        return []
    shift, sigma = options["color_shift"], options["color_sigma"]
    steps: list[tuple[bool, Transform]] = [
        (options["contrast"] > 0, ColorContrast(options["contrast"])),
        (shift + sigma > 0, ColorJitter(shift, sigma)),
        (options["color_drop"] > 0, DropColor(options["color_drop"])),
    ]
    return [step for is_wanted, step in steps if is_wanted]
