"""Builders of ScanQA and SQA3D (lavis/datasets/sources/scanqa.py)."""

from __future__ import annotations

from lavis.datasets.builders.base_dataset_builder import SourceBuilder, register_builder
from lavis.datasets.datasets.point_text_datasets import PointQADataset
from lavis.datasets.sources.scanqa import ScanQASource, SQA3DSource


@register_builder("scanqa")
class ScanQABuilder(SourceBuilder):
    """Questions about scenes, with several answers each."""

    train_dataset_cls = PointQADataset
    source_cls = ScanQASource
    DATASET_CONFIG_DICT = {"default": "configs/datasets/scanqa/scanqa.yaml"}  # noqa: RUF012


@register_builder("sqa3d")
class SQA3DBuilder(SourceBuilder):
    """Questions about scenes, each after a situation."""

    train_dataset_cls = PointQADataset
    source_cls = SQA3DSource
    DATASET_CONFIG_DICT = {"default": "configs/datasets/scanqa/sqa3d.yaml"}  # noqa: RUF012
