"""Builders of released scenes: ScanNet, S3DIS, SUN RGB-D (lavis/datasets/sources)."""

from __future__ import annotations

from lavis.datasets.builders.base_dataset_builder import SourceBuilder, register_builder
from lavis.datasets.datasets.scene_datasets import (
    FrameDataset,
    FrameDetectionDataset,
    SceneDetectionDataset,
    SceneSegmentationDataset,
)
from lavis.datasets.sources.s3dis import S3DISSource
from lavis.datasets.sources.scannet import ScanNetSource
from lavis.datasets.sources.sunrgbd import SunRgbdDetectionSource, SunRgbdSource


class ScenesBuilder(SourceBuilder):
    """Open scenes; a subclass names the source, and a data set class other than this one."""

    train_dataset_cls = SceneSegmentationDataset


@register_builder("scannet_segmentation")
class ScanNetSegmentationBuilder(ScenesBuilder):
    """ScanNet's scans with 20 classes and instances."""

    source_cls = ScanNetSource
    DATASET_CONFIG_DICT = {"default": "configs/datasets/scannet/segmentation.yaml"}  # noqa: RUF012


@register_builder("scannet_detection")
class ScanNetDetectionBuilder(ScenesBuilder):
    """ScanNet's scans with axis-aligned boxes."""

    source_cls = ScanNetSource
    train_dataset_cls = SceneDetectionDataset
    DATASET_CONFIG_DICT = {"default": "configs/datasets/scannet/detection.yaml"}  # noqa: RUF012


@register_builder("s3dis_segmentation")
class S3DISSegmentationBuilder(ScenesBuilder):
    """S3DIS' rooms with 13 classes and instances."""

    source_cls = S3DISSource
    DATASET_CONFIG_DICT = {"default": "configs/datasets/s3dis/segmentation.yaml"}  # noqa: RUF012


@register_builder("sunrgbd_frames")
class SunRgbdFramesBuilder(ScenesBuilder):
    """SUN RGB-D's frames with 37 classes."""

    source_cls = SunRgbdSource
    train_dataset_cls = FrameDataset
    DATASET_CONFIG_DICT = {"default": "configs/datasets/sunrgbd/frames.yaml"}  # noqa: RUF012


@register_builder("sunrgbd_detection")
class SunRgbdDetectionBuilder(ScenesBuilder):
    """SUN RGB-D's frames with turned boxes of ten classes."""

    source_cls = SunRgbdDetectionSource
    train_dataset_cls = FrameDetectionDataset
    DATASET_CONFIG_DICT = {"default": "configs/datasets/sunrgbd/detection.yaml"}  # noqa: RUF012
