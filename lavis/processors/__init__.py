"""Processors by name. A new processor is one new file and one import line below."""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)

from lavis.processors.base_processor import BaseProcessor

__all__ = ["BaseProcessor"]

from lavis.processors import (  # noqa: F401
    blip_processors,
    objaverse_transforms,
    point_processors,
)
