"""ScanQA and SQA3D: answers, situations, sampled scenes, bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lavis.common.errors import DataError
from lavis.datasets.stores.array_stores import ArrayPointStore, SampledStore
from tests.datasets.sources.trees import build, random_cloud, scanqa, sqa3d, write

QUESTIONS = "sqa3d/balanced/v1_balanced_questions_train_scannetv2.json"
ANSWERS = "sqa3d/balanced/v1_balanced_sqa_annotations_train_scannetv2.json"


def test_questions_keep_every_answer(tmp_path: Path) -> None:
    scanqa(tmp_path)
    datasets = build(tmp_path, "scanqa")
    assert {split: len(dataset) for split, dataset in datasets.items()} == {"train": 3, "val": 1}
    sample = datasets["train"][0]
    assert sample["question_id"] == "train-scene0000-0"
    assert sample["object_id"] == "scene0000_00"
    assert sample["answers"] == ["brown cabinet", "cabinet"]
    assert sample["text_input"] == "what is beside the bed?"
    kinds = [entry["family"] for entry in datasets["train"].annotation]
    assert kinds == ["what", "others", "how"]


def test_scenes_are_turned_upright_and_coloured(tmp_path: Path) -> None:
    scanqa(tmp_path)
    sample = build(tmp_path, "scanqa")["val"][0]
    assert sample["point_cloud"].shape == (32, 6)
    assert sample["box_size"][1] == pytest.approx(2.0)  # the height, z of the file
    assert torch.equal(sample["point_cloud"][:, 5], torch.ones(32))


def test_a_situation_comes_before_its_question(tmp_path: Path) -> None:
    sqa3d(tmp_path)
    datasets = build(tmp_path, "sqa3d")
    assert list(datasets) == ["train", "val", "test"]
    entry = datasets["test"].annotation[0]
    assert entry["question"] == "I am facing a bed. What is on my left?"
    assert (entry["question_id"], entry["answer"]) == ("220602000002", "lamp")
    assert entry["question_type"] == "what"


def test_a_scene_of_two_splits_is_not_trained_on(tmp_path: Path) -> None:
    scanqa(tmp_path)
    path = tmp_path / "scanqa/ScanQA_v1.0_val.json"
    path.write_text(path.read_text().replace("scene0002_00", "scene0001_00"))
    train = build(tmp_path, "scanqa")["train"]
    assert {entry["object_id"] for entry in train.annotation} == {"scene0000_00"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"questions": []}, "a dict, no list of records"),
        ([{"question_id": "a", "question": "b"}], "record 0: no scene_id, answers"),
        ([3], "record 0: no question_id"),
    ],
)
def test_another_layout_is_named_with_the_record(content: Any, message: str, tmp_path) -> None:
    scanqa(tmp_path)
    write(tmp_path / "scanqa/ScanQA_v1.0_val.json", json.dumps(content))
    with pytest.raises(DataError, match=rf"v1\.0_val\.json[\s\S]*{message}"):
        build(tmp_path, "scanqa")


def test_a_missing_file_of_answers_is_named(tmp_path: Path) -> None:
    sqa3d(tmp_path)
    (tmp_path / ANSWERS).unlink()
    with pytest.raises(DataError, match=r"sqa_annotations_train_scannetv2\.json"):
        build(tmp_path, "sqa3d")


def test_a_question_without_an_answer_is_named(tmp_path: Path) -> None:
    sqa3d(tmp_path)
    content = json.loads((tmp_path / QUESTIONS).read_text())
    content["questions"][0]["question_id"] = 7
    write(tmp_path / QUESTIONS, json.dumps(content))
    with pytest.raises(DataError, match=r"questions_train_scannetv2\.json[\s\S]*'7'"):
        build(tmp_path, "sqa3d")


def test_a_sample_of_a_large_cloud_is_fixed_and_without_repeats() -> None:
    cloud = random_cloud(0, 6, 1000)
    store = SampledStore(ArrayPointStore({"a": cloud, "b": cloud}, "memory"), 100)
    sample = store.load("a")
    np.testing.assert_array_equal(sample, store.load("a"))
    assert not np.array_equal(sample, store.load("b"))
    assert len(np.unique(sample, axis=0)) == 100
    assert {tuple(row) for row in sample} <= {tuple(row) for row in cloud}
    whole = SampledStore(ArrayPointStore({"a": cloud}, "memory"), 5000).load("a")
    assert sorted(map(tuple, whole)) == sorted(map(tuple, cloud))
