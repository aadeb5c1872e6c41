"""The user's own objects: what a converted folder gives, and what is said where it is lacking."""

from __future__ import annotations

import json
import math
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lavis.common.registry import registry
from omegaconf import OmegaConf

import lavis  # noqa: F401  (registers builders)
from lavis.common.errors import ConfigError, DataError
from lavis.datasets.builders.base_dataset_builder import load_dataset_config
from lavis.datasets.manifest import MANIFEST_NAME, write_json
from lavis.evaluation.baselines.pool import pool_of
from tests.datasets.sources.own_tree import CLASSES, SPLITS, own_folder

BUILDERS = ("own_caption", "own_retrieval", "own_qa", "own_classification")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return own_folder(tmp_path / "mine")


def build(folder: Path | None, name: str = "own_caption", **info: Any) -> dict[str, Any]:
    builder = registry.get_builder_class(name)
    cfg = load_dataset_config(builder.default_config_path())
    cfg.point_processor.train.num_points = cfg.point_processor.eval.num_points = 32
    path = None if folder is None else str(folder)
    return builder(OmegaConf.merge(cfg, {"build_info": {"path": path, **info}})).build_datasets()


@pytest.mark.parametrize("name", BUILDERS)
def test_every_use_opens_the_splits_with_the_version_of_the_folder(name, folder):
    datasets = build(folder, name)
    assert {split: len(d) for split, d in datasets.items()} == {
        split: len(numbers) for split, numbers in SPLITS.items()
    }
    version = datasets["test"].data_version
    assert version["name"] == "own/mine"
    assert version["version"] == "0123456789ab"
    assert len(version["split_file_sha256"]) == 64
    assert datasets["train"][0]["point_cloud"].shape == (32, 6)


def test_another_split_of_the_same_objects_is_another_version(folder, tmp_path):
    first = build(folder)["test"].data_version
    again = build(shutil.copytree(folder, tmp_path / "again" / "mine"))["test"].data_version
    assert again == first
    other = own_folder(tmp_path / "other" / "mine", ("captions",))
    assert build(other)["test"].data_version != first


def test_boxes_are_in_the_unit_of_the_files(folder):
    dataset = build(folder)["test"]
    number = SPLITS["test"][0]
    expected = json.loads((folder / "geometry.json").read_text())[f"o{number}"]["size"]
    np.testing.assert_allclose(dataset[0]["box_size"].numpy(), expected, rtol=1e-3)
    np.testing.assert_allclose(dataset.point_store.box_sizes()[f"o{number}"], expected, rtol=1e-6)
    copied = pickle.loads(pickle.dumps(dataset.point_store))
    assert copied.box_sizes().keys() == dataset.point_store.box_sizes().keys()


def test_files_without_a_common_unit_have_no_sizes(folder):
    dataset = build(folder, common_unit=False)["test"]
    assert dataset[0]["box_size"].isnan().all()
    assert math.isnan(dataset.point_store.scale("o0"))
    pool = pool_of(dataset, ["o16"])
    assert pool.features.boxes is None
    assert "nearest_box" not in pool.orders
    assert "nearest_chamfer" in pool.orders
    assert "nearest_box" in pool_of(build(folder)["test"], ["o16"]).orders  # not the cached result


def test_several_captions_are_drawn_in_training_and_all_are_references(folder):
    datasets = build(folder)
    drawn = set()
    for epoch in range(12):
        datasets["train"].set_epoch(epoch)
        drawn.add(datasets["train"][0]["text_input"])
    assert drawn == {"a red chair number 0", "chair, red"}
    record = datasets["test"].annotation[0]
    assert record["texts"]["caption"] == ["a red lamp number 16", "lamp, red"]


def test_classes_are_compared_in_lower_case(folder):
    dataset = build(folder, "own_classification")["test"]
    assert dataset.class_names == sorted(name.lower() for name in CLASSES)
    assert [dataset.class_names[dataset[k]["label"]] for k in range(2)] == ["lamp", "table"]
    assert dataset.annotation[2]["category"] == "chair"


def test_questions_have_a_family_and_their_answers(folder):
    sample = build(folder, "own_qa")["test"][0]
    assert (sample["question"], sample["answers"]) == ("what colour is it?", ["red"])
    assert sample["family"] == sample["question_type"] == "colour"
    files = folder.glob("annotations/qa_*.json")
    for path in files:
        records = json.loads(path.read_text())
        for record in records:
            del record["question_type"]
        write_json(path, records)
    rewrite_manifest(folder)
    assert build(folder, "own_qa")["test"][0]["family"] == "questions"


def test_results_of_baselines_are_kept_beside_the_clouds(folder):
    assert pool_of(build(folder)["test"], ["o16", "o17"]).orders["nearest_box"].shape == (2, 12)
    assert len(list((folder / "points").glob("baseline_features/*.npz"))) == 2
    assert build(folder)["train"]


def rewrite_manifest(folder: Path) -> None:
    from lavis.datasets.manifest import write_manifest

    facts = {"kind": "own objects", "version": "0123456789ab"}
    write_manifest(folder, **facts)


def test_an_empty_split_is_left_out(folder, caplog):
    write_json(folder / "annotations" / "captions_val.json", [])
    rewrite_manifest(folder)
    assert sorted(build(folder)) == ["test", "train"]
    assert "own_caption: no record in val" in caplog.text


@pytest.mark.parametrize("name", BUILDERS)
def test_no_folder_no_data(name, tmp_path):
    with pytest.raises(ConfigError, match=rf"{name}[\s\S]*datasets\.own\.path"):
        build(None, name)
    with pytest.raises(DataError, match=r"no such folder[\s\S]*lavis\.datasets\.convert"):
        build(tmp_path / "absent", name)
    (tmp_path / "started").mkdir()
    with pytest.raises(DataError, match=r"no manifest\.json[\s\S]*lavis\.datasets\.convert"):
        build(tmp_path / "started", name)


def test_a_folder_without_questions_or_classes_names_the_column(tmp_path):
    folder = own_folder(tmp_path / "mine", ("captions",))
    assert build(folder)
    for name, column in (("own_qa", "questions and answers"), ("own_classification", "classes")):
        with pytest.raises(DataError, match=f"have no {column}"):
            build(folder, name)


def test_other_prepared_data_are_refused(small_bricks):
    with pytest.raises(DataError):
        build(small_bricks)


@pytest.mark.parametrize("damage", ["points/field_xyz.npy", "annotations/captions_test.json"])
def test_changed_bytes_are_refused_at_the_first_use(folder, damage):
    path = folder / damage
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="not whole"):
        build(folder)
    (folder / MANIFEST_NAME).unlink()
    with pytest.raises(DataError, match=r"manifest\.json"):
        build(folder)
