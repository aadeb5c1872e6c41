"""Builders of ScanQA and SQA3D (lavis/datasets/sources/scanqa.py)."""

from __future__ import annotations

from lavis.common.registry import registry

from lavis.datasets.builders.base_dataset_builder import SourceBuilder
from lavis.datasets.datasets.point_text_datasets import PointQADataset
from lavis.datasets.sources.scanqa import ScanQASource, SQA3DSource


@registry.register_builder("scanqa")
class ScanQABuilder(SourceBuilder):
    """Questions about scenes, with several answers each."""

    train_dataset_cls = PointQADataset
    DATASET_CONFIG_DICT = {"default": "configs/datasets/scanqa/scanqa.yaml"}  # noqa: RUF012

    def make_source(self) -> ScanQASource:
        """Return ScanQA as configured."""
        return ScanQASource(self.config, "scanqa", self.train_dataset_cls)


@registry.register_builder("sqa3d")
class SQA3DBuilder(SourceBuilder):
    """Questions about scenes, each after a situation."""

    train_dataset_cls = PointQADataset
    DATASET_CONFIG_DICT = {"default": "configs/datasets/scanqa/sqa3d.yaml"}  # noqa: RUF012

    def make_source(self) -> SQA3DSource:
        """Return SQA3D as configured."""
        return SQA3DSource(self.config, "sqa3d", self.train_dataset_cls)
