"""The training augmentation of PointBLIP's release, which it has from ULIP.

Order of the release: normalise, drop points, scale, shift, small turns about all axes, any turn
about y. `point_train` has every step but the small turns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lavis.common.registry import registry
from lavis.processors.options import read_options
from lavis.processors.point_processors import PointProcessor, fixed_steps, random_steps

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
        fixed = fixed_steps({**options, "resample": "random", "normalize": True}, name)
        order = ("drop", "scale", "shift", "tilt", "rotate")
        return cls([*fixed, *random_steps(options, order, name)])
