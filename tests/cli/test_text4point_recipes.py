"""Recipes of Text4Point: every one is read, and names the classes of its data in their order."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from lavis.common.registry import registry

from lavis.config.run_config import RunConfig
from lavis.datasets.class_names import S3DIS13, SCANNET20, SUNRGBD37
from lavis.datasets.download_scripts.rooms.classes import SEEN
from lavis.datasets.sources.sunrgbd import DETECTED

FOLDER = Path(__file__).parents[2] / "lavis/projects/text4point"
RECIPES = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.glob("*/*.yaml"))
CLASSES = {
    **dict.fromkeys(("rooms_segmentation", "rooms_detection", "rooms_referring"), SEEN),
    "rooms_frames": SEEN,
    **dict.fromkeys(("scannet_segmentation", "scannet_detection"), SCANNET20),
    "s3dis_segmentation": S3DIS13,
    "sunrgbd_frames": SUNRGBD37,
    "sunrgbd_detection": DETECTED,
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_names_the_classes_of_its_data(recipe):
    cfg = RunConfig(SimpleNamespace(cfg_path=str(FOLDER / recipe), options=[]))
    for dataset in cfg.datasets_cfg:
        assert tuple(cfg.model_cfg.labels) == tuple(CLASSES[dataset])
    for place in cfg.run_cfg.get("evaluations", {}).values():
        assert registry.get_task_class(place.task) is not None
        assert place.dataset in cfg.datasets_cfg


def test_scratch_is_one_option():
    recipe = str(FOLDER / "train/rooms_detection.yaml")
    cfg = RunConfig(SimpleNamespace(cfg_path=recipe, options=["model.pretrained=null"]))
    assert cfg.model_cfg.pretrained is None


def test_zero_points_are_all_points_of_a_scene():
    recipe = str(FOLDER / "train/scannet_segmentation.yaml")
    cfg = RunConfig(SimpleNamespace(cfg_path=recipe, options=[]))
    processor = cfg.datasets_cfg.scannet_segmentation.point_processor.eval
    assert processor.num_points == 0
    assert registry.get_processor_class(processor.name).from_config(processor) is not None
