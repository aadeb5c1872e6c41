"""Builders of the built-in bricks (lavis/datasets/sources/bricks.py), one for each use of them."""

from __future__ import annotations

from lavis.datasets.builders.base_dataset_builder import SourceBuilder, register_builder
from lavis.datasets.datasets.point_text_datasets import (
    PointClassificationDataset,
    PointQADataset,
    PointRetrievalDataset,
    PointTextDataset,
)
from lavis.datasets.sources.bricks import BricksSource


class BricksBuilder(SourceBuilder):
    """Prepare and open the bricks; a subclass names the data set class of the annotations."""

    train_dataset_cls: type[PointTextDataset] = PointTextDataset

    def make_source(self) -> BricksSource:
        """Return the bricks as configured."""
        return BricksSource(self.config, self.train_dataset_cls)


@register_builder("bricks_caption")
class BricksCaptionBuilder(BricksBuilder):
    """Objects with captions, for pretraining and captioning."""

    DATASET_CONFIG_DICT = {"default": "configs/datasets/bricks/caption.yaml"}  # noqa: RUF012


@register_builder("bricks_retrieval")
class BricksRetrievalBuilder(BricksBuilder):
    """Objects with captions, to be matched both ways."""

    train_dataset_cls = PointRetrievalDataset
    DATASET_CONFIG_DICT = {"default": "configs/datasets/bricks/retrieval.yaml"}  # noqa: RUF012


@register_builder("bricks_qa")
class BricksQABuilder(BricksBuilder):
    """Questions about objects."""

    train_dataset_cls = PointQADataset
    DATASET_CONFIG_DICT = {"default": "configs/datasets/bricks/qa.yaml"}  # noqa: RUF012


@register_builder("bricks_classification")
class BricksClassificationBuilder(BricksBuilder):
    """Objects with their category."""

    train_dataset_cls = PointClassificationDataset
    DATASET_CONFIG_DICT = {"default": "configs/datasets/bricks/classification.yaml"}  # noqa: RUF012
