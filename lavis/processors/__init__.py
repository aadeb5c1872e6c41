"""Processors by name. A new processor is one new file and one import line below."""

from pkgutil import extend_path
from typing import Any

__path__ = extend_path(__path__, __name__)

from lavis.processors.base_processor import BaseProcessor

__all__ = ["BaseProcessor", "BlipCaptionProcessor", "load_processor"]

from lavis.processors import (  # noqa: F401
    blip_processors,
    point_processors,
    published_transforms,
    scene_transforms,
)
from lavis.processors.blip_processors import BlipCaptionProcessor


def load_processor(name: str, cfg: Any = None) -> Any:
    """Build a registered processor: `load_processor("point_eval", {"num_points": 2048})`.

    Args:
        name: a registered processor, e.g. `blip_caption`.
        cfg: its keys; None for all defaults.

    Raises:
        ConfigError: unknown name or key.
        DependencyError: a stock processor that cannot be imported on today's libraries.
    """
    from lavis.stock import registered

    return registered("processor", name).from_config(cfg)
