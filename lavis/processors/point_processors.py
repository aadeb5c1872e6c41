"""Point processors for training (random) and evaluation (fixed)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, overload

import numpy as np
import torch

from lavis.common.errors import ShapeError, explain
from lavis.common.registry import registry
from lavis.datasets.samples import check_equal_lengths
from lavis.processors.base_processor import BaseProcessor
from lavis.processors.options import read_options, require
from lavis.processors.point_transforms import (
    DropColor,
    DropPoints,
    Jitter,
    Normalize,
    PointFields,
    Resample,
    RotateUp,
    Scale,
    SelectColor,
    Shift,
    Transform,
    apply_all,
    join_columns,
    split_columns,
)

RESAMPLING = ("random", "first", "fps")

# Keys that both processors read.
_SHARED: dict[str, Any] = {
    "num_points": 1024,
    "use_color": True,
    "missing_color": None,
    "normalize": True,
}
TRAIN_DEFAULTS: dict[str, Any] = {
    **_SHARED,
    "resample": "random",
    "rotate_degrees": 180.0,
    "scale_low": 0.8,
    "scale_high": 1.25,
    "shift": 0.1,
    "jitter_sigma": 0.0,
    "jitter_clip": 0.05,
    "drop_max": 0.0,
    "color_drop": 0.0,
}
EVAL_DEFAULTS: dict[str, Any] = {**_SHARED, "resample": "first"}


class PointProcessor(BaseProcessor):
    """Apply transforms to one cloud and return a tensor."""

    def __init__(self, transforms: Sequence[Transform]) -> None:
        super().__init__()
        self.transforms = tuple(transforms)

    @overload
    def __call__(
        self, point_cloud: np.ndarray, rng: np.random.Generator | None = None
    ) -> torch.Tensor: ...
    @overload
    def __call__(
        self, point_cloud: PointFields, rng: np.random.Generator | None = None
    ) -> dict[str, torch.Tensor]: ...
    def __call__(
        self, point_cloud: np.ndarray | PointFields, rng: np.random.Generator | None = None
    ) -> torch.Tensor | dict[str, torch.Tensor]:
        """Process one cloud.

        Args:
            point_cloud: [N,3|6], xyz and rgb in [0,1], any number of points; or named per-point
                fields with `xyz` among them.
            rng: source of all randomness; None draws the same at every call.

        Returns:
            float32 [num_points, 3|6]; for named fields {"point_cloud": that, and every field but
            xyz and rgb with as many rows}.

        Raises:
            ShapeError: not [N,3] or [N,6], or no points.
            DataError: fields of unequal length.
        """
        rng = np.random.default_rng(0) if rng is None else rng
        if isinstance(point_cloud, dict):
            return self._process(point_cloud, rng)
        return self._process(split_columns(_checked(point_cloud)), rng)["point_cloud"]

    def _process(self, points: PointFields, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        check_equal_lengths(points, "point_processor")
        given = {name: _as_float(name, values) for name, values in points.items()}
        done = apply_all(self.transforms, given, rng)
        cloud = torch.from_numpy(np.array(join_columns(done), np.float32))
        further = {name: done[name] for name in done if name not in ("xyz", "rgb")}
        return {
            "point_cloud": cloud,
            **{name: torch.from_numpy(np.ascontiguousarray(v)) for name, v in further.items()},
        }


def _checked(point_cloud: np.ndarray) -> np.ndarray:
    """Return a cloud as float32 [N,3|6]."""
    cloud = np.asarray(point_cloud, dtype=np.float32)
    if cloud.ndim != 2 or cloud.shape[1] not in (3, 6) or len(cloud) == 0:
        raise ShapeError(
            explain(
                "a point processor got something else than a cloud",
                got=f"shape {cloud.shape}",
                expected="[N,3] or [N,6] with N >= 1",
            )
        )
    return cloud


def _as_float(name: str, values: np.ndarray) -> np.ndarray:
    """Return what transforms compute with as float32, other fields as they are."""
    return np.asarray(values, np.float32) if name in ("xyz", "rgb", "normal") else values


def _shared_steps(options: Mapping[str, Any], name: str) -> list[Transform]:
    """Return colour selection, resampling and normalisation, their values checked."""
    missing = options["missing_color"]
    grey = missing is None or (isinstance(missing, (int, float)) and 0 <= missing <= 1)
    require(grey, f"{name}.missing_color", missing, "null or a grey value in [0,1]")
    require(options["num_points"] > 0, f"{name}.num_points", options["num_points"], "at least 1")
    require(
        options["resample"] in RESAMPLING, f"{name}.resample", options["resample"], str(RESAMPLING)
    )
    steps: list[Transform] = [
        SelectColor(options["use_color"], missing),
        Resample(options["num_points"], options["resample"]),
    ]
    return [*steps, Normalize()] if options["normalize"] else steps


def _check_ranges(options: Mapping[str, Any], name: str) -> None:
    for key in ("drop_max", "color_drop"):
        require(0 <= options[key] <= 1, f"{name}.{key}", options[key], "in [0,1]")
    for key in ("rotate_degrees", "shift", "jitter_sigma", "jitter_clip"):
        require(options[key] >= 0, f"{name}.{key}", options[key], "at least 0")
    scales = (options["scale_low"], options["scale_high"])
    require(0 < scales[0] <= scales[1], f"{name}.scale_low", scales, "0 < scale_low <= scale_high")


@registry.register_processor("point_train")
class PointTrainProcessor(PointProcessor):
    """Random augmentation: resample, drop, turn about y, scale, shift, jitter, drop colour.

    PointBLIP trains with scale 0.8-1.25, shift 0.1, any turn about y and drop_max 0.875.
    """

    @classmethod
    def from_config(cls, cfg: Mapping[str, Any] | None = None) -> PointTrainProcessor:
        """Read the keys of `TRAIN_DEFAULTS`; a strength of 0 leaves its step out."""
        options = read_options(cfg, TRAIN_DEFAULTS, "point_train")
        steps = _shared_steps(options, "point_train")
        _check_ranges(options, "point_train")
        if options["drop_max"] > 0:
            steps.append(DropPoints(options["drop_max"]))
        if options["rotate_degrees"] > 0:
            steps.append(RotateUp(options["rotate_degrees"]))
        if options["scale_low"] != 1.0 or options["scale_high"] != 1.0:
            steps.append(Scale(options["scale_low"], options["scale_high"]))
        if options["shift"] > 0:
            steps.append(Shift(options["shift"]))
        if options["jitter_sigma"] > 0:
            steps.append(Jitter(options["jitter_sigma"], options["jitter_clip"]))
        if options["color_drop"] > 0 and options["use_color"]:
            steps.append(DropColor(options["color_drop"], options["missing_color"] or 0.0))
        return cls(steps)


@registry.register_processor("point_eval")
class PointEvalProcessor(PointProcessor):
    """No randomness: select colour, resample ("first" or "fps"), normalise."""

    @classmethod
    def from_config(cls, cfg: Mapping[str, Any] | None = None) -> PointEvalProcessor:
        """Read the keys of `EVAL_DEFAULTS`."""
        options = read_options(cfg, EVAL_DEFAULTS, "point_eval")
        return cls(_shared_steps(options, "point_eval"))
