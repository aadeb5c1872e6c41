"""Every data set by name: its source, the data set class of its annotations, its yamls.

The name is what `datasets:` of a recipe says, `bricks_caption`; `type:` chooses one of several
yamls. Sources are described in lavis/datasets/sources, the data in data/README.md.
"""

from __future__ import annotations

from functools import partial

from lavis.datasets.builders.base_dataset_builder import register_source
from lavis.datasets.datasets.point_text_datasets import (
    PointClassificationDataset,
    PointQADataset,
    PointRetrievalDataset,
    PointTextDataset,
)
from lavis.datasets.datasets.record_dataset import RecordDataset
from lavis.datasets.datasets.scene_datasets import (
    FrameDataset,
    FrameDetectionDataset,
    ReferringDataset,
    SceneDetectionDataset,
    SceneSegmentationDataset,
)
from lavis.datasets.sources import cap3d, lvis, modelnet40
from lavis.datasets.sources.bricks import BricksSource
from lavis.datasets.sources.furniture import FurnitureSource
from lavis.datasets.sources.media import MediaSource
from lavis.datasets.sources.objaverse import ObjaverseSource
from lavis.datasets.sources.openshape import OpenShapeDataset, OpenShapeSource
from lavis.datasets.sources.own import OwnSource
from lavis.datasets.sources.pointllm import PointLLMCaptions, PointLLMQuestions
from lavis.datasets.sources.rooms import RoomFramesSource, RoomsSource
from lavis.datasets.sources.s3dis import S3DISSource
from lavis.datasets.sources.scannet import ScanNetSource
from lavis.datasets.sources.scanobjectnn import ScanObjectNNSource
from lavis.datasets.sources.scanqa import ScanQASource, SQA3DSource
from lavis.datasets.sources.sunrgbd import SunRgbdDetectionSource, SunRgbdSource
from lavis.datasets.sources.ulip_shapenet import UlipShapeNetSource

# Built-in objects and the user's own, one for each use of them.
for family, source in (
    ("bricks", BricksSource),
    ("own", OwnSource),
    ("furniture", FurnitureSource),
):
    register_source(f"{family}_caption", source, PointTextDataset)
    register_source(f"{family}_retrieval", source, PointRetrievalDataset)
    register_source(f"{family}_classification", source, PointClassificationDataset)
register_source("bricks_qa", BricksSource, PointQADataset)
register_source("own_qa", OwnSource, PointQADataset)

# Built-in pictures, stamps and sounds, without clouds.
for family in ("pictures", "stamps", "sounds"):
    register_source(f"{family}_caption", partial(MediaSource, family), PointTextDataset)

# Built-in rooms.
register_source("rooms_segmentation", RoomsSource, SceneSegmentationDataset)
register_source("rooms_detection", RoomsSource, SceneDetectionDataset)
register_source("rooms_frames", RoomFramesSource, FrameDataset)
register_source("rooms_referring", RoomsSource, ReferringDataset)

# Objaverse: captions for pretraining (merged_data_new.json); captions without colour words, to
# fine-tune and score (overal_description_merged.json); Cap3D's and OpenShape's texts; LVIS classes.
register_source("objaverse_caption", ObjaverseSource, RecordDataset, "objaverse/defaults_cap")
register_source("objaverse_caption_tune", ObjaverseSource, RecordDataset, "objaverse/cap_tune")
register_source(
    "cap3d_caption",
    cap3d.LAYOUTS,
    PointTextDataset,
    {"default": "cap3d/objaverse", "ply": "cap3d/ply", "gpt4point": "cap3d/gpt4point"},
)
register_source(
    "openshape_caption",
    OpenShapeSource,
    OpenShapeDataset,
    {
        "default": "openshape/all",
        "no_lvis": "openshape/no_lvis",
        "shapenet": "openshape/shapenet",
    },
)
register_source(
    "objaverse_lvis_classification",
    lvis.LAYOUTS,
    PointClassificationDataset,
    {
        "default": "objaverse_lvis/openshape",
        "objaverse": "objaverse_lvis/objaverse",
        "ulip": "objaverse_lvis/ulip",
    },
)

# PointLLM's brief (stage 1) and detailed descriptions and its complex instructions (stage 2).
register_source(
    "pointllm_caption",
    PointLLMCaptions,
    PointTextDataset,
    {"default": "pointllm/brief", "detailed": "pointllm/detailed"},
)
register_source("pointllm_qa", PointLLMQuestions, PointQADataset, "pointllm/questions")

# Other released objects.
register_source(
    "modelnet40_classification",
    modelnet40.LAYOUTS,
    PointClassificationDataset,
    {
        "default": "modelnet40/txt",
        "openshape": "modelnet40/openshape",
        "pointllm": "modelnet40/pointllm",
        "h5": "modelnet40/h5",
    },
)
VARIANTS = ("pb_t50_rs", "obj_bg", "obj_only", "openshape")
register_source(
    "scanobjectnn_classification",
    ScanObjectNNSource,
    PointClassificationDataset,
    {
        "default": "scanobjectnn/pb_t50_rs",
        **{variant: f"scanobjectnn/{variant}" for variant in VARIANTS},
    },
)
register_source(
    "ulip_shapenet_caption", UlipShapeNetSource, PointTextDataset, "ulip_shapenet/shapenet55"
)

# Released scenes: 20, 13 and 37 classes, boxes of ScanNet axis-aligned and of SUN RGB-D turned.
register_source("scannet_segmentation", ScanNetSource, SceneSegmentationDataset)
register_source("scannet_detection", ScanNetSource, SceneDetectionDataset)
register_source("s3dis_segmentation", S3DISSource, SceneSegmentationDataset)
register_source("sunrgbd_frames", SunRgbdSource, FrameDataset)
register_source("sunrgbd_detection", SunRgbdDetectionSource, FrameDetectionDataset)
register_source("scanqa", ScanQASource, PointQADataset, "scanqa/scanqa")
register_source("sqa3d", SQA3DSource, PointQADataset, "scanqa/sqa3d")
