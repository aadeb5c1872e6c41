"""Answerers on questions about toy objects."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lavis.evaluation.baselines.answers import answer_baselines
from lavis.evaluation.baselines.named_words import is_yes_no, named_words
from lavis.evaluation.baselines.pool import pool_of
from lavis.evaluation.baselines.word_votes import word_votes


def question(object_id: str, kind: str, text: str, answer: str) -> dict[str, Any]:
    name = f"{object_id}:{kind}:{text}"
    keys = ("question_id", "object_id", "question_type", "question", "answer", "family")
    return dict(zip(keys, (name, object_id, kind, text, answer, kind), strict=True))


def training_questions(toys) -> list[dict[str, Any]]:
    rows = []
    for name, caption, category, color in toys.TRAIN:
        rows.append(question(name, "category", "what is it?", category))
        rows.append(question(name, "color", "what color is it?", color))
        side = caption.split(" x ")[-1] if " x " in caption else "4"
        rows.append(question(name, "longer_side", "how long is it?", side))
        for word in ("round", "flat"):
            right = {"round": "ball", "flat": "plate"}[word] == category
            rows.append(question(name, "shape", f"is it {word}?", "yes" if right else "no"))
    return rows


def asked() -> list[dict[str, Any]]:
    return [
        question("asked_ball", "category", "what is it?", "ball"),
        question("asked_brick", "color", "what color is it?", "orange"),
        question("asked_brick", "longer_side", "how long is it?", "6"),
        question("asked_ball", "shape", "is it round?", "yes"),
        question("asked_ball", "shape", "is it flat?", "no"),
    ]


@pytest.fixture(scope="module")
def found(toys):
    answers = answer_baselines(pool_of(toys.dataset(training_questions(toys)), toys.ASKED), asked())
    return {name: list(given.values()) for name, given in answers.items()}


def test_known_answers(found):
    assert found["most_frequent_answer"] == ["brick", "red", "4", "no", "no"]
    assert found["nearest_chamfer"][0] == "ball"
    assert found["nearest_histogram"][3:] == ["yes", "no"]
    assert found["rounded_box"] == ["", "", "6", "", ""]
    assert found["answer_forest"][1] == "orange"
    assert found["forest_and_rounded_box"][1:3] == ["orange", "6"]
    assert found["blind_text_only"][1] == "red"


def test_nearest_box_compares_the_logarithms_of_edges(toys, found):
    train = training_questions(toys)
    edges = {i: np.log(box) for i, box in toys.dataset(train).point_store.box_sizes().items()}

    def slow(question):
        same = [e for e in train if e["question_type"] == question["question_type"]]
        own = edges[question["object_id"]]
        return min(same, key=lambda e: np.square(edges[e["object_id"]] - own).sum())["answer"]

    untyped = [q for q in asked() if q["question_type"] != "shape"]
    assert found["nearest_box"][:3] == [slow(question) for question in untyped]


def test_what_the_data_lack_is_absent(toys):
    pool = pool_of(toys.dataset(training_questions(toys)), toys.ASKED)
    without_type = [{k: v for k, v in q.items() if k != "question_type"} for q in asked()]
    names = set(answer_baselines(pool, without_type))
    assert names == {"most_frequent_answer", "blind_text_only"}
    assert answer_baselines(pool_of(toys.dataset([]), toys.ASKED), asked()) == {}
    unknown = [question("asked_ball", "weight", "how heavy is it?", "2")]
    given = answer_baselines(pool, unknown)
    assert given["nearest_chamfer"] == given["answer_forest"] == {unknown[0]["question_id"]: ""}


@pytest.mark.parametrize("unit", [None, "m"])
def test_boxes_are_rounded_to_studs_alone(toys, unit):
    pool = pool_of(toys.dataset(training_questions(toys), unit=unit), toys.ASKED)
    names = set(answer_baselines(pool, asked()))
    assert not names & {"rounded_box", "forest_and_rounded_box"}
    assert {"nearest_chamfer", "answer_forest"} < names


def test_words_of_yes_no_questions(toys):
    assert named_words("does it have a clip?") == ("clip",)
    assert named_words("are there teeth on this object?") == ()
    assert is_yes_no(training_questions(toys)) == {"shape"}


def test_votes_never_come_from_the_object_itself():
    tables = (np.zeros((3, 2)), np.zeros((1, 2)))
    yes = np.array([True, False, False])
    words = [[("clip",)] * 3, [("clip",)]]
    train, other = word_votes(tables, words, yes, [["a", "b", "c"], ["new"]])
    assert train[0, 0] == pytest.approx(1 / 4)  # two no: (0 + 1) / (2 + 2)
    assert other[0, 0] == pytest.approx(2 / 5)
    assert word_votes(tables, words, yes, [["a"] * 3, ["new"]])[0][0, 0] == 0.5
