"""Point processors for training (random) and evaluation (fixed)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, overload

import numpy as np
import torch

from lavis.common.errors import DataError, ShapeError
from lavis.common.registry import registry
from lavis.datasets.readers.values import native_float, rounding_problem
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
    Tilt,
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
            DataError: fields of unequal length, colours of another range, or coordinates that
                float32 cannot hold and that are not normalised.
        """
        rng = np.random.default_rng(0) if rng is None else rng
        if isinstance(point_cloud, dict):
            return self._process(point_cloud, rng)
        return self._process(split_columns(_checked(point_cloud)), rng)["point_cloud"]

    def _process(self, points: PointFields, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        check_equal_lengths(points, "point_processor")
        given = {name: _as_float(name, values) for name, values in points.items()}
        done = apply_all(self.transforms, given, rng)
        problem = rounding_problem(done["xyz"]) if done["xyz"].dtype == np.float64 else None
        if problem is not None:
            raise DataError(
                "coordinates cannot be given to a model in float32",
                where="point_processor",
                got=problem,
                fix="set normalize: True, or subtract the object's centre",
            )
        cloud = torch.from_numpy(np.array(join_columns(done), np.float32))
        further = {name: done[name] for name in done if name not in ("xyz", "rgb")}
        return {
            "point_cloud": cloud,
            **{name: torch.from_numpy(np.ascontiguousarray(v)) for name, v in further.items()},
        }


def _checked(point_cloud: np.ndarray) -> np.ndarray:
    """Return a cloud [N,3|6] as floats; float64 stays, see `Normalize`."""
    cloud = native_float(np.asarray(point_cloud))
    if cloud.ndim != 2 or cloud.shape[1] not in (3, 6) or len(cloud) == 0:
        raise ShapeError(
            "a point processor got something else than a cloud",
            got=f"shape {cloud.shape}",
            expected="[N,3] or [N,6] with N >= 1",
        )
    return cloud


def _as_float(name: str, values: np.ndarray) -> np.ndarray:
    """Return what transforms compute with as floats, other fields as they are.

    Coordinates keep float64 until they are centred; colours keep bytes until `SelectColor`.
    """
    if name == "xyz":
        return native_float(np.asarray(values))
    is_float = name == "normal" or (name == "rgb" and values.dtype.kind == "f")
    return np.asarray(values, np.float32) if is_float else values


def fixed_steps(options: Mapping[str, Any], name: str) -> list[Transform]:
    """Return colour selection, resampling and normalisation, their values checked."""
    missing, count, mode = (options[k] for k in ("missing_color", "num_points", "resample"))
    grey = missing is None or (isinstance(missing, (int, float)) and 0 <= missing <= 1)
    require(grey, f"{name}.missing_color", missing, "null or a grey value in [0,1]")
    require(count > 0, f"{name}.num_points", count, "at least 1")
    require(mode in RESAMPLING, f"{name}.resample", mode, str(RESAMPLING))
    steps: list[Transform] = [SelectColor(options["use_color"], missing), Resample(count, mode)]
    return [*steps, Normalize()] if options["normalize"] else steps


# Each augmentation of a processor's options, where it is wanted.
_AUGMENTATIONS: dict[str, tuple[str, Callable[[Mapping[str, Any]], Transform]]] = {
    "drop": ("drop_max", lambda o: DropPoints(o["drop_max"])),
    "rotate": ("rotate_degrees", lambda o: RotateUp(o["rotate_degrees"])),
    "scale": ("", lambda o: Scale(o["scale_low"], o["scale_high"])),
    "shift": ("shift", lambda o: Shift(o["shift"])),
    "tilt": ("tilt_sigma", lambda o: Tilt(o["tilt_sigma"], o["tilt_clip"])),
    "jitter": ("jitter_sigma", lambda o: Jitter(o["jitter_sigma"], o["jitter_clip"])),
    "color": ("color_drop", lambda o: DropColor(o["color_drop"], o["missing_color"] or 0.0)),
}
_LENGTHS = ("rotate_degrees", "shift", "jitter_sigma", "jitter_clip", "tilt_sigma", "tilt_clip")


def random_steps(options: Mapping[str, Any], order: Sequence[str], name: str) -> list[Transform]:
    """Return augmentations in a given order, their values checked.

    Args:
        options: strengths; one of 0 (or a scale of 1 to 1) leaves its step out.
        order: names of `_AUGMENTATIONS`.
        name: the processor, for messages.

    Raises:
        ConfigError: a value out of range.
    """
    _check_ranges(options, name)

    def is_wanted(step: str) -> bool:
        if step == "scale":
            return (options["scale_low"], options["scale_high"]) != (1.0, 1.0)
        if step == "color" and not options["use_color"]:
            return False
        return options[_AUGMENTATIONS[step][0]] > 0

    return [_AUGMENTATIONS[step][1](options) for step in order if is_wanted(step)]


def _check_ranges(options: Mapping[str, Any], name: str) -> None:
    for key in ("drop_max", "color_drop"):
        require(0 <= options.get(key, 0) <= 1, f"{name}.{key}", options.get(key), "in [0,1]")
    for key in _LENGTHS:
        require(options.get(key, 0) >= 0, f"{name}.{key}", options.get(key), "at least 0")
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
        order = ("drop", "rotate", "scale", "shift", "jitter", "color")
        steps = fixed_steps(options, "point_train")
        return cls([*steps, *random_steps(options, order, "point_train")])


@registry.register_processor("point_eval")
class PointEvalProcessor(PointProcessor):
    """No randomness: select colour, resample ("first" or "fps"), normalise."""

    @classmethod
    def from_config(cls, cfg: Mapping[str, Any] | None = None) -> PointEvalProcessor:
        """Read the keys of `EVAL_DEFAULTS`."""
        options = read_options(cfg, EVAL_DEFAULTS, "point_eval")
        return cls(fixed_steps(options, "point_eval"))
