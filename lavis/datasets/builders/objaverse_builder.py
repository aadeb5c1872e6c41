"""Builders of Objaverse (lavis/datasets/sources/objaverse.py)."""

from __future__ import annotations

from lavis.datasets.builders.base_dataset_builder import SourceBuilder, register_builder
from lavis.datasets.sources.objaverse import ObjaverseSource


class ObjaverseBuilder(SourceBuilder):
    """Open Objaverse; a subclass names the yaml."""

    def make_source(self) -> ObjaverseSource:
        """Return Objaverse as configured."""
        return ObjaverseSource(self.config, self.registered_name)


@register_builder("objaverse_caption")
class ObjaverseCaptionBuilder(ObjaverseBuilder):
    """Captions for pretraining (merged_data_new.json)."""

    DATASET_CONFIG_DICT = {"default": "configs/datasets/objaverse/defaults_cap.yaml"}  # noqa: RUF012


@register_builder("objaverse_caption_tune")
class ObjaverseCaptionTuneBuilder(ObjaverseBuilder):
    """Captions without colour words, to fine-tune and score (overal_description_merged.json)."""

    DATASET_CONFIG_DICT = {"default": "configs/datasets/objaverse/cap_tune.yaml"}  # noqa: RUF012
