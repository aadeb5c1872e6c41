"""The point transforms of published systems, by name.

    point_pointblip_train     PointBLIP, from ULIP: drop, scale, shift, tilt, turn about y
    point_objaverse_train     the same under its earlier name
    point_openshape_train     OpenShape: the same, then drop the colour
    point_mixcon3d_train      MixCon3D: as OpenShape
    point_pointllm_train      PointLLM: none of these

Colour, resampling and normalisation come first. `<name>_eval` has no random step.

Differences from the releases: up is +y throughout (OpenShape and MixCon3D swap y and z first, so
they turn about z; the encoder option `up_axis: swap_yz` serves their weights), and a dropped point
takes the colour of the first point along with its place (theirs keeps its own).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from lavis.common.registry import registry
from lavis.processors.options import read_options
from lavis.processors.point_processors import PointProcessor, fixed_steps, random_steps

AUGMENTATIONS: dict[str, Any] = {
    "drop_max": 0.875,
    "scale_low": 0.8,
    "scale_high": 1.25,
    "shift": 0.1,
    "tilt_sigma": 0.06,
    "tilt_clip": 0.18,
    "rotate_degrees": 180.0,
}
ORDER = ("drop", "scale", "shift", "tilt", "rotate")
POINTBLIP: dict[str, Any] = {"num_points": 8192, "use_color": False, "missing_color": None}
OPENSHAPE: dict[str, Any] = {"num_points": 10_000, "use_color": True, "missing_color": 0.4}
POINTLLM: dict[str, Any] = {"num_points": 8192, "use_color": True, "missing_color": 0.0}


class PublishedProcessor(PointProcessor):
    """Resample, normalise and augment as a system does; a strength of 0 leaves its step out.

    Class attributes of a subclass:
        name: as registered.
        defaults: its keys.
        order: of its random steps.
        resample: how `num_points` points are chosen.
    """

    name: ClassVar[str]
    defaults: ClassVar[dict[str, Any]]
    order: ClassVar[tuple[str, ...]] = ()
    resample: ClassVar[str] = "first"

    @classmethod
    def from_config(cls, cfg: Mapping[str, Any] | None = None) -> PublishedProcessor:
        """Read the keys of `defaults`.

        Raises:
            ConfigError: an unknown key, another type, or a value out of range.
        """
        options = read_options(cfg, cls.defaults, cls.name)
        fixed = {**options, "resample": cls.resample, "normalize": True}
        drawn = random_steps(options, cls.order, cls.name) if cls.order else []
        return cls([*fixed_steps(fixed, cls.name), *drawn])


@registry.register_processor("point_pointblip_train")
class PointBlipTrainProcessor(PublishedProcessor):
    """PointBLIP: xyz of 8,192 points."""

    name, order, resample = "point_pointblip_train", ORDER, "random"
    defaults = POINTBLIP | AUGMENTATIONS


@registry.register_processor("point_objaverse_train")
class PointObjaverseTrainProcessor(PointBlipTrainProcessor):
    """The same under its earlier name."""

    name = "point_objaverse_train"


@registry.register_processor("point_pointblip_eval")
class PointBlipEvalProcessor(PublishedProcessor):
    """PointBLIP: normalise alone."""

    name, defaults = "point_pointblip_eval", POINTBLIP


@registry.register_processor("point_openshape_train")
class OpenShapeTrainProcessor(PublishedProcessor):
    """OpenShape: 10,000 coloured points; half of the clouds become grey."""

    name, order, resample = "point_openshape_train", (*ORDER, "color"), "random"
    defaults = OPENSHAPE | AUGMENTATIONS | {"color_drop": 0.5}


@registry.register_processor("point_openshape_eval")
class OpenShapeEvalProcessor(PublishedProcessor):
    """OpenShape: normalise alone."""

    name, defaults = "point_openshape_eval", OPENSHAPE


@registry.register_processor("point_mixcon3d_train")
class MixCon3DTrainProcessor(OpenShapeTrainProcessor):
    """MixCon3D: as OpenShape."""

    name = "point_mixcon3d_train"


@registry.register_processor("point_mixcon3d_eval")
class MixCon3DEvalProcessor(OpenShapeEvalProcessor):
    """MixCon3D: as OpenShape."""

    name = "point_mixcon3d_eval"


@registry.register_processor("point_pointllm_train")
class PointLLMTrainProcessor(PublishedProcessor):
    """PointLLM: normalise alone; the order of the file, black where there is no colour."""

    name, defaults = "point_pointllm_train", POINTLLM


@registry.register_processor("point_pointllm_eval")
class PointLLMEvalProcessor(PointLLMTrainProcessor):
    """PointLLM: the same."""

    name = "point_pointllm_eval"
