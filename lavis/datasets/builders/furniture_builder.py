"""Builders of the built-in furniture (lavis/datasets/sources/furniture.py)."""

from __future__ import annotations

from typing import ClassVar

from lavis.common.registry import registry

from lavis.datasets.builders.base_dataset_builder import SourceBuilder
from lavis.datasets.datasets.point_text_datasets import (
    PointClassificationDataset,
    PointRetrievalDataset,
    PointTextDataset,
)
from lavis.datasets.sources.furniture import FurnitureSource


class FurnitureBuilder(SourceBuilder):
    """Open the furniture; a subclass names the data set class of the annotations."""

    train_dataset_cls: type[PointTextDataset] = PointTextDataset
    registered_name: ClassVar[str] = ""

    def make_source(self) -> FurnitureSource:
        """Return the furniture as configured."""
        return FurnitureSource(self.config, self.registered_name, self.train_dataset_cls)


@registry.register_builder("furniture_caption")
class FurnitureCaptionBuilder(FurnitureBuilder):
    """Objects with captions, for pretraining and captioning."""

    registered_name = "furniture_caption"
    DATASET_CONFIG_DICT = {"default": "configs/datasets/furniture/caption.yaml"}  # noqa: RUF012


@registry.register_builder("furniture_retrieval")
class FurnitureRetrievalBuilder(FurnitureBuilder):
    """Objects with captions, to be matched both ways."""

    registered_name = "furniture_retrieval"
    train_dataset_cls = PointRetrievalDataset
    DATASET_CONFIG_DICT = {"default": "configs/datasets/furniture/retrieval.yaml"}  # noqa: RUF012


@registry.register_builder("furniture_classification")
class FurnitureClassificationBuilder(FurnitureBuilder):
    """Objects with their class."""

    registered_name = "furniture_classification"
    train_dataset_cls = PointClassificationDataset
    DATASET_CONFIG_DICT = {  # noqa: RUF012
        "default": "configs/datasets/furniture/classification.yaml"
    }
