"""One battery for every registered data set builder."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lavis.common.registry import registry
from omegaconf import DictConfig

import lavis  # noqa: F401  (registers builders)
from lavis.common.errors import DataError
from lavis.datasets.builders.base_dataset_builder import (
    BaseDatasetBuilder,
    load_dataset_config,
)
from lavis.datasets.samples import FIELDS, batch_size, collate, instance_ids, select
from tests.datasets.download_scripts.furniture_tree import write_models
from tests.datasets.download_scripts.media_tree import write_media
from tests.datasets.download_scripts.rooms.box_furniture import (
    SMALL_PLAN,
    SMALL_ROOMS,
    prepare_small,
)
from tests.datasets.sources import scene_trees, trees
from tests.datasets.sources.own_tree import own_folder

Maker = Callable[[DictConfig, Path, Path], None]


def point_at_bricks(cfg: DictConfig, bricks: Path, folder: Path) -> None:
    """Point a section of the bricks at the small preparation."""
    cfg.build_info.points = {"storage": str(bricks), "num_points": 128, "num_objects": 120}
    for section in cfg.build_info.annotations.values():
        section.storage = section.storage.replace("bricks/", f"{bricks}/", 1)


def point_at_objaverse(cfg: DictConfig, bricks: Path, folder: Path) -> None:
    """Write eight objects in the layout of the release and point a section at them."""
    rng = np.random.default_rng(0)
    uids = [f"{number:032x}" for number in range(8)]
    for uid in uids:
        (folder / "points" / uid).mkdir(parents=True)
        cloud = rng.standard_normal((100, 3)).astype(np.float32)
        np.savez(folder / "points" / uid / f"{uid}_8192.npz", cloud)
    (folder / "captions.json").write_text(json.dumps({uid: f"object {uid}" for uid in uids}))
    (folder / "ids.txt").write_text("\n".join(uids[:6]))
    info = cfg.build_info
    info.annotations.train.storage = info.annotations.test.storage = str(folder / "captions.json")
    info.ids.storage, info.points.storage = str(folder / "ids.txt"), str(folder / "points")
    info.points.check_cache = None


def released(write_tree: Callable[[Path], None]) -> Maker:
    """Return a maker that writes a tree in a released layout and points a section at it."""

    def point_at_tree(cfg: DictConfig, bricks: Path, folder: Path) -> None:
        write_tree(folder)
        trees.below(cfg.build_info, folder)

    return point_at_tree


def point_at_pointllm_questions(cfg: DictConfig, bricks: Path, folder: Path) -> None:
    """Point a section at PointLLM's questions; a test file is the user's own."""
    cfg.build_info.annotations.test.storage = "pointllm/anno_data/PointLLM_complex_test.json"
    released(trees.pointllm)(cfg, bricks, folder)


def point_at_own(cfg: DictConfig, bricks: Path, folder: Path) -> None:
    """Write a converted folder and point a section at it."""
    cfg.build_info.path = str(own_folder(folder / "mine"))


def point_at_openshape(cfg: DictConfig, bricks: Path, folder: Path) -> None:
    """Point a section at OpenShape's records; the list of validation is the user's own."""
    cfg.build_info.annotations.val.storage = "openshape/meta_data/split/own_val.json"
    released(trees.openshape)(cfg, bricks, folder)


def point_at_lvis(cfg: DictConfig, bricks: Path, folder: Path) -> None:
    """Point a section at Objaverse-LVIS; a list to train on is the user's own."""
    cfg.build_info.annotations.train.storage = "openshape/meta_data/split/lvis_train.json"
    released(trees.lvis_openshape)(cfg, bricks, folder)


def point_at_furniture(cfg: DictConfig, bricks: Path, folder: Path) -> None:
    """Write model files of a few boxes, from which the furniture is prepared."""
    points = cfg.build_info.points
    points.models = str(write_models(folder / "furniture_models"))
    points.storage, points.num_points = str(folder / "furniture"), 128
    for section in cfg.build_info.annotations.values():
        section.storage = f"{folder}/{section.storage}"


def point_at_rooms(cfg: DictConfig, bricks: Path, folder: Path) -> None:
    """Point a section at five small rooms, prepared once."""
    rooms = prepare_small(bricks.parent / "rooms")
    points, plan = cfg.build_info.points, SMALL_PLAN
    points.storage, points.num_rooms, points.num_points = str(rooms), SMALL_ROOMS, plan.num_points
    points.views, points.width, points.height = plan.views, plan.width, plan.height
    for section in cfg.build_info.annotations.values():
        section.storage = section.storage.replace("rooms/", f"{rooms}/", 1)


def point_at_media(cfg: DictConfig, bricks: Path, folder: Path) -> None:
    """Write a prepared folder of pictures and sounds."""
    write_media(folder / "media", Path(cfg.build_info.media.storage).name)
    cfg.build_info.media.storage = str(folder / "media")
    for section in cfg.build_info.annotations.values():
        section.storage = f"{folder}/media/{section.storage.split('/', 1)[1]}"


# Every registered builder of ours and how a test gets its data.
MAKERS: dict[str, Maker] = {
    "bricks_caption": point_at_bricks,
    "bricks_retrieval": point_at_bricks,
    "bricks_qa": point_at_bricks,
    "bricks_classification": point_at_bricks,
    "objaverse_caption": point_at_objaverse,
    "objaverse_caption_tune": point_at_objaverse,
    "furniture_caption": point_at_furniture,
    "furniture_retrieval": point_at_furniture,
    "furniture_classification": point_at_furniture,
    "pictures_caption": point_at_media,
    "stamps_caption": point_at_media,
    "sounds_caption": point_at_media,
    "own_caption": point_at_own,
    "own_retrieval": point_at_own,
    "own_qa": point_at_own,
    "own_classification": point_at_own,
    "rooms_segmentation": point_at_rooms,
    "rooms_detection": point_at_rooms,
    "rooms_frames": point_at_rooms,
    "rooms_referring": point_at_rooms,
    "modelnet40_classification": released(trees.modelnet40_text),
    "scannet_segmentation": released(scene_trees.scannet),
    "scannet_detection": released(scene_trees.scannet),
    "s3dis_segmentation": released(scene_trees.s3dis),
    "sunrgbd_frames": released(scene_trees.sunrgbd),
    "sunrgbd_detection": released(scene_trees.sunrgbd),
    "scanobjectnn_classification": released(trees.scanobjectnn),
    "pointllm_caption": released(trees.pointllm),
    "pointllm_qa": point_at_pointllm_questions,
    "cap3d_caption": released(trees.cap3d),
    "scanqa": released(trees.scanqa),
    "sqa3d": released(trees.sqa3d),
    "openshape_caption": point_at_openshape,
    "objaverse_lvis_classification": point_at_lvis,
    "ulip_shapenet_caption": released(trees.ulip_shapenet),
}
every_builder = pytest.mark.parametrize("name", sorted(MAKERS))


def builder_class(name: str) -> type[BaseDatasetBuilder]:
    return registry.get_builder_class(name)


@pytest.fixture
def build(small_bricks: Path, tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    """Return a builder of small data sets by name."""

    def build(name: str) -> dict[str, Any]:
        cfg = load_dataset_config(builder_class(name).default_config_path())
        MAKERS[name](cfg, small_bricks, tmp_path)
        return builder_class(name)(cfg).build_datasets()

    return build


def test_the_battery_covers_every_registered_builder() -> None:
    classes = {name: builder_class(name) for name in registry.list_datasets()}
    ours = {n for n, c in classes.items() if c.__module__.startswith("lavis.datasets.builders")}
    assert set(MAKERS) == ours


@every_builder
def test_default_sections_name_every_key_a_recipe_may_set(name: str) -> None:
    cfg = load_dataset_config(builder_class(name).default_config_path())
    kinds = {"points": ("point_processor", "text_processor"), "media": ("text_processor",)}
    processors = kinds[cfg.data_type]
    assert {"build_info", *processors} <= set(cfg)
    assert {"annotations", cfg.data_type, "limit", "augmentation_seed", "max_bad_fraction"} <= set(
        cfg.build_info
    )
    for kind in processors:
        assert all(registry.get_processor_class(cfg[kind][mode].name) for mode in ("train", "eval"))


@every_builder
def test_every_split_gives_batches_of_known_fields(name: str, build) -> None:
    datasets = build(name)
    assert "train" in datasets
    for split, dataset in datasets.items():
        samples = [dataset[index] for index in range(min(3, len(dataset)))]
        batch = dataset.collater(samples)
        size = len(samples)
        assert batch_size(batch) == size, split
        assert len(set(instance_ids(batch))) == size
        if "point_cloud" in batch:
            assert batch["point_cloud"].dtype == torch.float32
            assert batch["box_size"].shape == (size, 3)
        else:
            assert "image" in batch or "audio" in batch
        assert all(isinstance(text, str) and text for text in batch["text_input"])
        for field, values in batch.items():
            assert len(values) == size
            assert isinstance(values, list) or field in FIELDS, f"register the field {field}"
        first = select(batch, torch.tensor([0]))
        again = collate([dataset[0]])
        for field, values in first.items():
            alone = again.get(field)
            if alone is None:  # the first object has no such field
                assert not first[f"{field.removesuffix('_mask')}_mask"].any(), field
            elif torch.is_tensor(values):  # a batch pads clips to the longest
                values = values[:, : alone.shape[1]] if field.startswith("audio") else values
                assert torch.equal(values, alone), field
            else:
                same = torch.equal if torch.is_tensor(values[0]) else operator.eq
                assert all(map(same, values, alone)), field


@every_builder
def test_training_follows_the_epoch_and_evaluation_does_not(name: str, build) -> None:
    datasets = build(name)

    def cloud(dataset: Any, epoch: int) -> torch.Tensor:
        dataset.set_epoch(epoch)
        sample = dataset[0]
        field = next(name for name in ("point_cloud", "image", "audio") if name in sample)
        return sample[field]

    train = datasets["train"]
    assert torch.equal(cloud(train, 0), cloud(train, 0))
    if "point_cloud" in train[0]:  # pictures and whole clips are not augmented
        assert not torch.equal(cloud(train, 0), cloud(train, 1))
    others = [dataset for split, dataset in datasets.items() if split != "train"]
    assert others
    for dataset in others:
        assert torch.equal(cloud(dataset, 0), cloud(dataset, 1))
        reference = dataset.reference_dataset()
        assert torch.equal(cloud(reference, 0), cloud(reference, 1))
        assert dataset.train_annotation()


@every_builder
def test_missing_data_are_named_before_anything_is_built(name: str, small_bricks, tmp_path) -> None:
    cfg = load_dataset_config(builder_class(name).default_config_path())
    MAKERS[name](cfg, small_bricks, tmp_path)
    cfg.build_info.annotations.train.storage = str(tmp_path / "absent.json")
    with pytest.raises(DataError, match=r"absent\.json"):
        builder_class(name)(cfg).build_datasets()


def test_a_base_is_merged_and_the_difference_wins(tmp_path: Path) -> None:
    (tmp_path / "shared.yaml").write_text("datasets: {any: {data_type: points, a: {b: 1, c: 2}}}")
    path = tmp_path / "own.yaml"
    path.write_text("base: shared.yaml\ndatasets: {mine: {a: {c: 3}}}")
    assert load_dataset_config(str(path)) == {"data_type": "points", "a": {"b": 1, "c": 3}}
