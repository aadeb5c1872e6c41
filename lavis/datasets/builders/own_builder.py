"""Builders of the user's own objects (lavis/datasets/sources/own.py), one for each use of them."""

from __future__ import annotations

from lavis.datasets.builders.base_dataset_builder import SourceBuilder, register_builder
from lavis.datasets.datasets.point_text_datasets import (
    PointClassificationDataset,
    PointQADataset,
    PointRetrievalDataset,
    PointTextDataset,
)
from lavis.datasets.sources.own import OwnSource


class OwnBuilder(SourceBuilder):
    """Open a converted folder; a subclass names the data set class of the annotations."""

    train_dataset_cls: type[PointTextDataset] = PointTextDataset
    source_cls = OwnSource


@register_builder("own_caption")
class OwnCaptionBuilder(OwnBuilder):
    """Objects with captions, for pretraining and captioning."""

    DATASET_CONFIG_DICT = {"default": "configs/datasets/own/caption.yaml"}  # noqa: RUF012


@register_builder("own_retrieval")
class OwnRetrievalBuilder(OwnBuilder):
    """Objects with captions, to be matched both ways."""

    train_dataset_cls = PointRetrievalDataset
    DATASET_CONFIG_DICT = {"default": "configs/datasets/own/retrieval.yaml"}  # noqa: RUF012


@register_builder("own_qa")
class OwnQABuilder(OwnBuilder):
    """Questions about objects."""

    train_dataset_cls = PointQADataset
    DATASET_CONFIG_DICT = {"default": "configs/datasets/own/qa.yaml"}  # noqa: RUF012


@register_builder("own_classification")
class OwnClassificationBuilder(OwnBuilder):
    """Objects with their class."""

    train_dataset_cls = PointClassificationDataset
    DATASET_CONFIG_DICT = {"default": "configs/datasets/own/classification.yaml"}  # noqa: RUF012
