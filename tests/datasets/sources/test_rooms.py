"""The rooms as data sets: classes of each split, boxes, frames, expressions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lavis.common.registry import registry

import lavis  # noqa: F401  (registers builders)
from lavis.common.errors import DataError
from lavis.common.text_files import read_json
from lavis.datasets.builders.base_dataset_builder import load_dataset_config
from lavis.datasets.download_scripts.rooms.classes import HELD_OUT, SEEN
from lavis.datasets.manifest import write_json
from lavis.datasets.sources.rooms import RoomFrames
from tests.datasets.download_scripts.rooms.box_furniture import (
    SMALL_PLAN,
    SMALL_ROOMS,
    prepare_small,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_small(tmp_path_factory.mktemp("rooms") / "rooms")


def build(folder: Path, name: str, **changes: Any) -> dict[str, Any]:
    builder = registry.get_builder_class(name)
    cfg = load_dataset_config(builder.default_config_path())
    points = cfg.build_info.points
    points.storage, points.num_rooms = str(folder), SMALL_ROOMS
    for key in ("num_points", "views", "width", "height"):
        points[key] = getattr(SMALL_PLAN, key)
    for section in cfg.build_info.annotations.values():
        section.storage = section.storage.replace("rooms/", f"{folder}/", 1)
    cfg.build_info.update(changes)
    return builder(cfg).build_datasets()


def test_only_the_held_out_rooms_have_held_out_classes(folder: Path) -> None:
    datasets = build(folder, "rooms_segmentation")
    assert set(datasets) == {"train", "val", "test", "held_out"}
    for split, dataset in datasets.items():
        names = [*SEEN, *HELD_OUT] if split == "held_out" else list(SEEN)
        assert dataset.class_names == names
        labels = np.unique(dataset[0]["semantic_label"])
        assert labels.max() < len(names)
        assert (labels >= len(SEEN)).any() == (split == "held_out")
        assert dataset.data_version["name"] == "rooms"


def test_boxes_fit_the_meshes_of_the_annotation(folder: Path) -> None:
    sample = build(folder, "rooms_detection")["val"][0]
    scene = read_json(folder / "annotations/scene_val.json")[0]
    things = {thing["instance"]: thing for thing in scene["instances"]}
    assert len(sample["boxes"]) > 3
    for box, label, instance in zip(sample["boxes"], sample["box_label"], sample["box_instance"]):
        thing = things[int(instance)]
        assert SEEN[label] == thing["label"]
        low, high = box[:3] - box[3:] / 2, box[:3] + box[3:] / 2
        centre, size = np.split(np.array(thing["box"]), 2)
        assert (low.numpy() >= centre - size / 2 - 1e-3).all()  # visible points are inside
        assert (high.numpy() <= centre + size / 2 + 1e-3).all()


def test_frames_and_rooms_carry_the_same_labels(folder: Path) -> None:
    frames, rooms = (build(folder, f"rooms_{name}")["test"] for name in ("frames", "detection"))
    whole, seen = rooms[0], 0
    names = {int(i): int(n) for i, n in zip(whole["box_instance"], whole["box_label"])}
    for index in range(len(frames)):
        sample = frames[index]
        assert sample["object_id"].startswith(whole["object_id"])
        for semantic, instance in zip(sample["semantic_label"], sample["instance_label"]):
            if int(instance) in names:
                assert names[int(instance)] == int(semantic)
                seen += 1
        points = sample["point_cloud"][:, :3]
        assert points[:, 1].min() > -0.01  # nothing is below the floor
    assert seen > 50


def test_expressions_name_an_object_that_is_there(folder: Path) -> None:
    for dataset in build(folder, "rooms_referring").values():
        sample = dataset[0]
        whole = dataset.point_store.load_points(sample["object_id"])
        assert (whole["instance_label"] == sample["target_instance"]).sum() >= 30
        assert sample["text_input"].startswith("the ")


def test_expressions_of_one_room_see_the_same_points(folder: Path) -> None:
    dataset = build(folder, "rooms_referring")["train"]
    same = [
        index
        for index, record in enumerate(dataset.annotation)
        if record["object_id"] == dataset.annotation[0]["object_id"]
    ]
    assert len(same) > 1
    first, last = dataset[same[0]], dataset[same[-1]]
    assert first["instance_id"] != last["instance_id"]
    np.testing.assert_array_equal(first["point_cloud"], last["point_cloud"])
    dataset.set_epoch(1)
    assert not np.array_equal(dataset[same[0]]["point_cloud"], first["point_cloud"])


def test_a_frame_without_a_camera_is_skipped_by_name(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "frame_train.json"
    entries = read_json(folder / "annotations/frame_train.json")
    del entries[1]["camera"]
    write_json(path, entries)
    store = RoomFrames(folder, {entry["object_id"]: entry for entry in entries}, SEEN)
    with pytest.raises(DataError, match=f"(?s)no camera.*{entries[1]['object_id']}"):
        store.frame(entries[1]["object_id"])
    annotations = {"train": {"storage": str(path)}}
    train = build(folder, "rooms_frames", annotations=annotations, max_bad_fraction=0.5)["train"]
    assert [bad["instance_id"] for bad in train.bad_samples] == [entries[1]["object_id"]]
    assert len(train) == len(entries) - 1


def test_another_preparation_is_refused(folder: Path) -> None:
    builder = registry.get_builder_class("rooms_segmentation")
    cfg = load_dataset_config(builder.default_config_path())
    cfg.build_info.points.storage = str(folder)
    with pytest.raises(DataError, match="prepared with other parameters"):
        builder(cfg).build_datasets()
