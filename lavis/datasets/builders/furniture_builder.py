"""Builders of the built-in furniture (lavis/datasets/sources/furniture.py)."""

from __future__ import annotations

from lavis.datasets.builders.base_dataset_builder import SourceBuilder, register_builder
from lavis.datasets.datasets.point_text_datasets import (
    PointClassificationDataset,
    PointRetrievalDataset,
    PointTextDataset,
)
from lavis.datasets.sources.furniture import FurnitureSource


class FurnitureBuilder(SourceBuilder):
    """Open the furniture; a subclass names the data set class of the annotations."""

    train_dataset_cls: type[PointTextDataset] = PointTextDataset
    source_cls = FurnitureSource


@register_builder("furniture_caption")
class FurnitureCaptionBuilder(FurnitureBuilder):
    """Objects with captions, for pretraining and captioning."""

    DATASET_CONFIG_DICT = {"default": "configs/datasets/furniture/caption.yaml"}  # noqa: RUF012


@register_builder("furniture_retrieval")
class FurnitureRetrievalBuilder(FurnitureBuilder):
    """Objects with captions, to be matched both ways."""

    train_dataset_cls = PointRetrievalDataset
    DATASET_CONFIG_DICT = {"default": "configs/datasets/furniture/retrieval.yaml"}  # noqa: RUF012


@register_builder("furniture_classification")
class FurnitureClassificationBuilder(FurnitureBuilder):
    """Objects with their class."""

    train_dataset_cls = PointClassificationDataset
    DATASET_CONFIG_DICT = {  # noqa: RUF012
        "default": "configs/datasets/furniture/classification.yaml"
    }
