"""Builders of released scenes: ScanNet, S3DIS, SUN RGB-D (lavis/datasets/sources)."""

from __future__ import annotations

from typing import ClassVar

from lavis.common.registry import registry

from lavis.datasets.builders.base_dataset_builder import SourceBuilder
from lavis.datasets.datasets.point_text_datasets import PointTextDataset
from lavis.datasets.datasets.scene_datasets import (
    FrameDataset,
    FrameDetectionDataset,
    SceneDetectionDataset,
    SceneSegmentationDataset,
)
from lavis.datasets.sources.rooms import RoomsSource
from lavis.datasets.sources.s3dis import S3DISSource
from lavis.datasets.sources.scannet import ScanNetSource
from lavis.datasets.sources.scenes import SceneSource
from lavis.datasets.sources.sunrgbd import SunRgbdDetectionSource, SunRgbdSource


class ScenesBuilder(SourceBuilder):
    """Open scenes; a subclass names the source and the data set class."""

    train_dataset_cls: type[PointTextDataset] = SceneSegmentationDataset
    source_cls: type[SceneSource | RoomsSource] = SceneSource
    registered_name: ClassVar[str] = ""

    def make_source(self) -> SceneSource | RoomsSource:
        """Return the scenes as configured."""
        return self.source_cls(self.config, self.registered_name, self.train_dataset_cls)


@registry.register_builder("scannet_segmentation")
class ScanNetSegmentationBuilder(ScenesBuilder):
    """ScanNet's scans with 20 classes and instances."""

    registered_name, source_cls = "scannet_segmentation", ScanNetSource
    DATASET_CONFIG_DICT = {"default": "configs/datasets/scannet/segmentation.yaml"}  # noqa: RUF012


@registry.register_builder("scannet_detection")
class ScanNetDetectionBuilder(ScenesBuilder):
    """ScanNet's scans with axis-aligned boxes."""

    registered_name, source_cls = "scannet_detection", ScanNetSource
    train_dataset_cls = SceneDetectionDataset
    DATASET_CONFIG_DICT = {"default": "configs/datasets/scannet/detection.yaml"}  # noqa: RUF012


@registry.register_builder("s3dis_segmentation")
class S3DISSegmentationBuilder(ScenesBuilder):
    """S3DIS' rooms with 13 classes and instances."""

    registered_name, source_cls = "s3dis_segmentation", S3DISSource
    DATASET_CONFIG_DICT = {"default": "configs/datasets/s3dis/segmentation.yaml"}  # noqa: RUF012


@registry.register_builder("sunrgbd_frames")
class SunRgbdFramesBuilder(ScenesBuilder):
    """SUN RGB-D's frames with 37 classes."""

    registered_name, source_cls = "sunrgbd_frames", SunRgbdSource
    train_dataset_cls = FrameDataset
    DATASET_CONFIG_DICT = {"default": "configs/datasets/sunrgbd/frames.yaml"}  # noqa: RUF012


@registry.register_builder("sunrgbd_detection")
class SunRgbdDetectionBuilder(ScenesBuilder):
    """SUN RGB-D's frames with turned boxes of ten classes."""

    registered_name, source_cls = "sunrgbd_detection", SunRgbdDetectionSource
    train_dataset_cls = FrameDetectionDataset
    DATASET_CONFIG_DICT = {"default": "configs/datasets/sunrgbd/detection.yaml"}  # noqa: RUF012
