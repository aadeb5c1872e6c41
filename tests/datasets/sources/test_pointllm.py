"""PointLLM's conversations: captions, questions, corrupt objects, held-out objects, bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lavis.common.errors import DataError
from tests.datasets.sources.trees import CORRUPT, build, pointllm, write

TEST = "pointllm/anno_data/PointLLM_complex_test.json"


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    pointllm(tmp_path)
    return tmp_path


def uids(dataset: Any) -> list[int]:
    return [int(entry["object_id"], 16) for entry in dataset.annotation]


def test_brief_descriptions_become_captions_of_coloured_clouds(layout: Path) -> None:
    datasets = build(layout, "pointllm_caption")
    sample = datasets["train"][1]
    assert sample["caption"] == "A red chair number 1."
    assert sample["text_input"] == "a red chair number 1"
    assert sample["point_cloud"].shape == (32, 6)
    assert uids(datasets["test"]) == [3]


def test_evaluated_objects_and_corrupt_ones_are_not_trained_on(layout: Path, caplog) -> None:
    datasets = build(layout, "pointllm_caption")
    assert uids(datasets["train"]) == [0, 1, 2]
    assert uids(datasets["test"].reference_dataset()) == [0, 1, 2]
    assert [int(e["object_id"], 16) for e in datasets["test"].train_annotation()] == [0, 1, 2]
    assert f"objects left out, damaged colours: ['{CORRUPT[0]}']" in caplog.text


def test_corrupt_objects_are_used_without_colour(layout: Path) -> None:
    path = layout / f"pointllm/8192_npy/{CORRUPT[0]}_8192.npy"
    np.save(path, np.random.default_rng(0).standard_normal((64, 3)))
    off = [f"point_processor.{mode}.use_color=False" for mode in ("train", "eval")]
    train = build(layout, "pointllm_caption", "default", *off)["train"]
    assert train.annotation[-1]["object_id"] == CORRUPT[0]
    assert train[len(train) - 1]["point_cloud"].shape == (32, 3)


def test_detailed_descriptions_are_a_type(layout: Path) -> None:
    datasets = build(layout, "pointllm_caption", "detailed")
    assert list(datasets) == ["train"]
    assert [e["caption"] for e in datasets["train"].annotation] == ["A red chair with four legs."]


def questions(layout: Path, *changes: str) -> dict[str, Any]:
    test = f"build_info.annotations.test.storage={layout / TEST}"
    return build(layout, "pointllm_qa", "default", test, *changes)


def test_each_round_is_a_question_after_the_earlier_rounds(layout: Path) -> None:
    train = questions(layout)["train"]
    assert [e["question"] for e in train.annotation] == [
        "What is it?",
        "What is it? A chair. And its colour?",
        "Who would use it?",
    ]
    assert [e["answer"] for e in train.annotation] == ["A chair.", "Red.", "Children."]
    assert len({e["question_id"] for e in train.annotation}) == 3
    sample = train[1]
    assert sample["question_type"] == sample["family"] == "multi_round"
    assert sample["text_input"] == "what is it? a chair and its colour?"


def test_rounds_may_come_without_history(layout: Path) -> None:
    train = questions(layout, "build_info.history=False")["train"]
    assert train.annotation[1]["question"] == "And its colour?"


def test_an_object_with_a_test_question_has_no_training_question(layout: Path) -> None:
    path = layout / TEST
    changed = [{**json.loads(path.read_text())[0], "object_id": f"{0:032x}"}]
    path.write_text(json.dumps(changed))
    assert uids(questions(layout)["train"]) == [1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": 1}, "no list of conversations"),
        ([], "no list of conversations"),
        ([{"object_id": "x"}], "record 0: no object_id with pairs"),
        ([{"object_id": 3, "conversations": []}], "record 0"),
        ([{"object_id": "x", "conversations": [{"from": "human", "value": "a"}]}], "pairs"),
        (
            [{"object_id": "x", "conversations": [{"from": "gpt", "value": "a"}] * 2}],
            "record 0: a turn that is not of human",
        ),
        (
            [{"object_id": "x", "conversations": [{"from": "human"}, {"from": "gpt"}]}],
            "record 0: a turn without a text",
        ),
        (
            [
                {
                    "object_id": "x",
                    "conversation_type": "other",
                    "conversations": [{"from": "human", "value": ""}, {"from": "gpt", "value": ""}],
                }
            ],
            r"no conversation of the types \['simple_description'\], but \{'other': 1\}",
        ),
    ],
)
def test_another_layout_is_named_with_the_record(content: Any, message: str, layout: Path) -> None:
    name = "pointllm/anno_data/PointLLM_brief_description_val_200_GT.json"
    write(layout / name, json.dumps(content))
    with pytest.raises(DataError, match=rf"val_200_GT\.json[\s\S]*{message}"):
        build(layout, "pointllm_caption")


def test_a_missing_cloud_is_named(layout: Path) -> None:
    (layout / f"pointllm/8192_npy/{0:032x}_8192.npy").unlink()
    train = build(layout, "pointllm_caption")["train"]
    with pytest.raises(DataError, match=rf"{0:032x}"):
        train[0]
    kept = build(layout, "pointllm_caption", "default", "build_info.max_bad_fraction=0.5")["train"]
    assert uids(kept) == [1, 2]
