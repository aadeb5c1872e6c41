"""Texts of records: 0 is a value, several captions and answers, wrong types, repeated ids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lavis.common.errors import DataError
from lavis.datasets.datasets.point_text_datasets import (
    PointQADataset,
    PointRetrievalDataset,
    PointTextDataset,
)
from lavis.datasets.datasets.record_texts import all_texts, is_missing, joined, one_text_each
from lavis.datasets.stores.point_stores import FilePointStore
from lavis.processors.point_processors import PointEvalProcessor

SEVERAL = ["a chair", "a seat", "a stool"]


@pytest.fixture
def build(tmp_path: Path) -> Any:
    """A function (records, class, options) -> data set on clouds named 0, 1 and 2."""
    for number in range(3):
        cloud = np.random.default_rng(number).random((40, 6), dtype=np.float32)
        np.save(tmp_path / f"{number}.npy", cloud)

    def make(records: list[dict], cls: type = PointTextDataset, **options: Any) -> Any:
        path = tmp_path / "records.json"
        path.write_text(json.dumps(records))
        points = PointEvalProcessor.from_config({"num_points": 32})
        return cls(points, str.lower, FilePointStore(tmp_path), [path], **options)

    return make


def question(number: Any, **fields: Any) -> dict[str, Any]:
    return {"question_id": number, "object_id": 0, "question": "what?", "answer": "a", **fields}


@pytest.mark.parametrize("value", [0, 0.0, False, "0", ["a"]])
def test_falsy_values_are_values(value) -> None:
    assert not is_missing(value)


@pytest.mark.parametrize("value", [None, "", " \n", []])
def test_null_and_blank_are_missing(value) -> None:
    assert is_missing(value)


def test_question_0_of_object_0_with_answer_0(build) -> None:
    sample = build([question(0, answer=0)], PointQADataset)[0]
    assert (sample["question_id"], sample["object_id"], sample["answer"]) == (0, "0", "0")
    assert sample["instance_id"] == "0"
    assert sample["answers"] == ["0"]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"answer": False}, "answer is bool False"),
        ({"answer": ["a", {}]}, "answer is a list of dict, str"),
        ({"question": ["what?"]}, "question is a list of str"),
        ({"object_id": 1.5}, "object_id is float 1.5"),
        ({"answers": "abc"}, "answers is str 'abc', expected a list"),
    ],
)
def test_wrong_types_are_refused_with_file_record_and_field(build, fields, named) -> None:
    with pytest.raises(DataError) as caught:
        build([question("q7", **fields)], PointQADataset)
    for part in (named, "records.json", "q7"):
        assert part in str(caught.value)


@pytest.mark.parametrize("caption", [["a", 3], ["a", ""], 5, {"en": "a"}])
def test_captions_of_wrong_types_are_refused(build, caption) -> None:
    with pytest.raises(DataError, match="caption is"):
        build([{"object_id": "0", "caption": caption}])


def test_training_draws_one_caption_per_epoch_by_seed_epoch_and_instance(build) -> None:
    records = [{"object_id": f"{n}", "caption": SEVERAL} for n in range(3)]

    def drawn(seed: int) -> list[list[str]]:
        data, texts = build(records, draws_texts=True, seed=seed), []
        for epoch in range(8):
            data.set_epoch(epoch)
            texts.append([data[n]["text_input"] for n in range(3)])
        return texts

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    assert {text for texts in drawn(1) for text in texts} == set(SEVERAL)


def test_training_draws_one_of_several_answers(build) -> None:
    records = [question(0, answer=["two", "2"]), question(1, answer=None, answers=["3", "three"])]
    data = build(records, PointQADataset, draws_texts=True)
    seen: list[set[str]] = [set(), set()]
    for epoch in range(12):
        data.set_epoch(epoch)
        for place, texts in enumerate(seen):
            texts.add(data[place]["answer"])
    assert seen == [{"two", "2"}, {"3", "three"}]
    assert data[0]["answers"] == ["two", "2"]


def test_evaluation_uses_the_first_caption_and_keeps_all(build) -> None:
    data = build([{"object_id": "0", "caption": SEVERAL}], PointRetrievalDataset)
    assert data.texts == ["a chair"]
    assert data[0]["text_input"] == data[0]["caption"] == "a chair"
    assert all_texts(data.annotation[0], "caption") == SEVERAL


def test_text_field_and_text_weights_take_lists(build) -> None:
    records = [{"object_id": "0", "caption": "x", "description": SEVERAL}]
    data = build(records, text_field="description")
    assert all_texts(data.annotation[0], "caption") == SEVERAL
    weighted = build(records, text_weights={"description": 1.0}, draws_texts=True)
    assert weighted[0]["text_input"] in SEVERAL


def test_records_of_one_object_are_joined_in_an_evaluation_only(build) -> None:
    records = [{"object_id": "0", "caption": text} for text in SEVERAL]
    records.append({"object_id": "1", "caption": "a lamp"})
    data = build(records)
    assert [all_texts(entry, "caption") for entry in data.annotation] == [SEVERAL, ["a lamp"]]
    assert len(build(records, draws_texts=True)) == 4


def test_questions_of_one_id_join_their_answers_or_are_refused(build) -> None:
    data = build([question(0, answer="two"), question(0, answer="2")], PointQADataset)
    assert data[0]["answers"] == ["two", "2"]
    with pytest.raises(DataError, match="differ in question"):
        build([question(0), question(0, question="which colour?")], PointQADataset)


def test_objects_of_one_id_in_two_classes_are_refused() -> None:
    records = [{"object_id": "0", "caption": "a", "category": c} for c in ("chair", "lamp")]
    with pytest.raises(DataError, match="differ in category"):
        joined(records, "object_id", "test.json")


def test_one_text_each_twice_changes_nothing() -> None:
    record = one_text_each({"object_id": 0, "caption": SEVERAL, "answer": [1, "one"]})
    assert one_text_each(record) == record
    plain = {"object_id": "0", "caption": "a chair"}
    assert one_text_each(plain) == plain
