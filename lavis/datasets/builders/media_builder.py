"""Builders of the built-in pictures, stamps and sounds (lavis/datasets/sources/media.py)."""

from __future__ import annotations

from typing import ClassVar

from lavis.datasets.builders.base_dataset_builder import SourceBuilder, register_builder
from lavis.datasets.datasets.point_text_datasets import PointTextDataset
from lavis.datasets.sources.media import MediaSource


class MediaBuilder(SourceBuilder):
    """Open a family of pictures or sounds with captions."""

    family: ClassVar[str] = ""

    def make_source(self) -> MediaSource:
        """Return the family as configured."""
        return MediaSource(self.family, self.config, f"{self.family}_caption", PointTextDataset)


@register_builder("pictures_caption")
class PicturesCaptionBuilder(MediaBuilder):
    """Emoji and clip art with labels."""

    family = "pictures"
    DATASET_CONFIG_DICT = {"default": "configs/datasets/pictures/caption.yaml"}  # noqa: RUF012


@register_builder("stamps_caption")
class StampsCaptionBuilder(MediaBuilder):
    """Pictures with a sentence, some with a sound."""

    family = "stamps"
    DATASET_CONFIG_DICT = {"default": "configs/datasets/stamps/caption.yaml"}  # noqa: RUF012


@register_builder("sounds_caption")
class SoundsCaptionBuilder(MediaBuilder):
    """Sounds with names."""

    family = "sounds"
    DATASET_CONFIG_DICT = {"default": "configs/datasets/sounds/caption.yaml"}  # noqa: RUF012
