"""The training augmentation of PointBLIP's release, which it has from ULIP.

Order of the release: normalise, drop points, scale, shift, small turns about all axes, any turn
about y. `point_train` has every step but the small turns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lavis.common.registry import registry
from lavis.processors.options import read_options, require
from lavis.processors.point_processors import PointProcessor
from lavis.processors.point_transforms import (
    DropPoints,
    Normalize,
    PointFields,
    Resample,
    RotateUp,
    Scale,
    SelectColor,
    Shift,
    Transform,
    register_transform,
    turned,
)

DEFAULTS: dict[str, Any] = {
    "num_points": 8192,
    "use_color": False,
    "missing_color": None,
    "drop_max": 0.875,
    "scale_low": 0.8,
    "scale_high": 1.25,
    "shift": 0.1,
    "tilt_sigma": 0.06,
    "tilt_clip": 0.18,
    "rotate_degrees": 180.0,
}


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


@registry.register_processor("point_objaverse_train")
class PointObjaverseTrainProcessor(PointProcessor):
    """Random augmentation as in PointBLIP's release; a strength of 0 leaves its step out."""

    @classmethod
    def from_config(cls, cfg: Mapping[str, Any] | None = None) -> PointObjaverseTrainProcessor:
        """Read the keys of `DEFAULTS`.

        Raises:
            ConfigError: an unknown key, another type, or a value out of range.
        """
        name = "point_objaverse_train"
        options = read_options(cfg, DEFAULTS, name)
        require(
            options["num_points"] > 0, f"{name}.num_points", options["num_points"], "at least 1"
        )
        require(0 <= options["drop_max"] <= 1, f"{name}.drop_max", options["drop_max"], "in [0,1]")
        for key in ("shift", "tilt_sigma", "tilt_clip", "rotate_degrees"):
            require(options[key] >= 0, f"{name}.{key}", options[key], "at least 0")
        scales = (options["scale_low"], options["scale_high"])
        require(0 < scales[0] <= scales[1], f"{name}.scale_low", scales, "0 < low <= scale_high")
        return cls(_steps(options))


def _steps(options: Mapping[str, Any]) -> list[Transform]:
    """Return the steps of the release in its order."""
    steps: list[Transform] = [
        SelectColor(options["use_color"], options["missing_color"]),
        Resample(options["num_points"], "random"),
        Normalize(),
    ]
    if options["drop_max"] > 0:
        steps.append(DropPoints(options["drop_max"]))
    if (options["scale_low"], options["scale_high"]) != (1.0, 1.0):
        steps.append(Scale(options["scale_low"], options["scale_high"]))
    if options["shift"] > 0:
        steps.append(Shift(options["shift"]))
    if options["tilt_sigma"] > 0:
        steps.append(Tilt(options["tilt_sigma"], options["tilt_clip"]))
    if options["rotate_degrees"] > 0:
        steps.append(RotateUp(options["rotate_degrees"]))
    return steps
