"""Builders of the built-in rooms (lavis/datasets/sources/rooms.py), one for each use of them."""

from __future__ import annotations

from lavis.datasets.builders.base_dataset_builder import register_builder
from lavis.datasets.builders.scenes_builder import ScenesBuilder
from lavis.datasets.datasets.scene_datasets import (
    FrameDataset,
    ReferringDataset,
    SceneDetectionDataset,
)
from lavis.datasets.sources.rooms import RoomFramesSource, RoomsSource


class RoomsBuilder(ScenesBuilder):
    """Prepare and open the rooms; a subclass names the data set class of the annotations."""

    source_cls = RoomsSource


@register_builder("rooms_segmentation")
class RoomsSegmentationBuilder(RoomsBuilder):
    """Rooms with a class and an instance per point."""

    DATASET_CONFIG_DICT = {"default": "configs/datasets/rooms/segmentation.yaml"}  # noqa: RUF012


@register_builder("rooms_detection")
class RoomsDetectionBuilder(RoomsBuilder):
    """Rooms with boxes."""

    train_dataset_cls = SceneDetectionDataset
    DATASET_CONFIG_DICT = {"default": "configs/datasets/rooms/detection.yaml"}  # noqa: RUF012


@register_builder("rooms_frames")
class RoomsFramesBuilder(RoomsBuilder):
    """RGB-D frames of rooms."""

    train_dataset_cls, source_cls = FrameDataset, RoomFramesSource
    DATASET_CONFIG_DICT = {"default": "configs/datasets/rooms/frames.yaml"}  # noqa: RUF012


@register_builder("rooms_referring")
class RoomsReferringBuilder(RoomsBuilder):
    """Sentences, each of which means one object of a room."""

    train_dataset_cls = ReferringDataset
    DATASET_CONFIG_DICT = {"default": "configs/datasets/rooms/referring.yaml"}  # noqa: RUF012
