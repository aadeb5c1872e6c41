"""Questions: families, balance, and answers that follow from the text."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import pytest

from lavis.datasets.download_scripts.bricks_classes import SEEN
from lavis.datasets.download_scripts.bricks_qa import (
    PHRASINGS,
    build_qa,
    features_of,
    fits_box,
    footprint,
    handedness,
    qa_statistics,
)


@pytest.fixture(scope="module")
def described(all_parts) -> dict[str, dict[str, str]]:
    """Every part by id."""
    return {part["object_id"]: part for part in all_parts}


@pytest.fixture(scope="module")
def pairs(all_parts, boxes) -> list[dict[str, Any]]:
    """The pairs of all parts, as if they were one split."""
    return build_qa(all_parts, boxes)


def of_type(pairs: list[dict[str, Any]], question_type: str) -> list[dict[str, Any]]:
    """Pairs of one question type."""
    return [pair for pair in pairs if pair["question_type"] == question_type]


def test_enough_pairs_and_families(pairs) -> None:
    assert len(pairs) >= 15_000
    assert len({pair["family"] for pair in pairs}) == 7
    assert len({pair["question_id"] for pair in pairs}) == len(pairs)


def test_most_frequent_answer_stays_at_or_below_a_half(pairs) -> None:
    for name, facts in qa_statistics(pairs).items():
        assert facts["share"] <= 0.5, name


@pytest.mark.parametrize("question_type", ["shape", "has_teeth", "feature"])
def test_each_yes_no_question_is_balanced_word_by_word(pairs, question_type: str) -> None:
    answers = defaultdict(Counter)
    for pair in of_type(pairs, question_type):
        answers[pair["question_id"].split(":", 1)[1]][pair["answer"]] += 1
    assert answers
    for word, counts in answers.items():
        assert counts["yes"] == counts["no"], word


def test_every_phrasing_is_used(pairs) -> None:
    for question_type, phrasings in PHRASINGS.items():
        assert len(phrasings) >= 3
        asked = {pair["question"] for pair in of_type(pairs, question_type)}
        assert len(asked) >= len(phrasings)


def test_yes_answers_are_in_the_text_and_no_answers_are_not(pairs, described) -> None:
    for pair in of_type(pairs, "feature"):
        text = described[pair["object_id"]]["description"].lower()
        feature = pair["question_id"].split(":", 2)[2].replace("_", " ")
        assert (feature in text) == (pair["answer"] == "yes"), pair
    for pair in of_type(pairs, "shape"):
        text = described[pair["object_id"]]["description"].lower()
        assert (pair["question_id"].rsplit(":", 1)[1] in text) == (pair["answer"] == "yes")


def test_open_answers_follow_from_the_record(pairs, described) -> None:
    for pair in pairs:
        part = described[pair["object_id"]]
        text = part["description"].lower()
        if pair["question_type"] == "color":
            assert pair["answer"] == part["color"]
        elif pair["question_type"] == "category":
            assert pair["answer"] == part["category"] in SEEN
        elif pair["question_type"] == "stud_dimensions":
            assert any(answer in text for answer in pair["answers"])
        elif pair["question_type"] in ("handedness", "teeth_count"):
            assert pair["answer"] in text
        elif pair["question_type"] == "longer_side":
            assert int(pair["answer"]) == max(footprint(part["description"]))


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("Brick 2 x 4", (2, 4)),
        ("Cockpit 6 x 6 x 2.667 with Click Hinge", (6, 6)),
        ("Hinge Plate 1 x 2.5", None),
        ("Wheel Rim 8 x 8 Notched Hole", None),
        ("Bracket 1 x 2 - 2 x 4", None),
        ("Car Base with Plate 2 x 4", None),
        ("Minifig Bowtie", None),
    ],
)
def test_footprint(text: str, size: tuple[int, int] | None) -> None:
    assert footprint(text) == size


def test_handedness_needs_exactly_one_side() -> None:
    assert handedness("Wing 3 x 8 Left") == "left"
    assert handedness("Torso with Right Hand and Left Hook") is None
    assert handedness("Brick 2 x 4") is None


def test_features_leave_out_colours_sizes_and_what_is_lacking() -> None:
    found = features_of("Door 1 x 4 with 3 Panes and Red Glass, Handle without Stud Notches")
    assert found == ["3 panes", "handle"]
    assert features_of("Brick 2 x 4") == []


def test_order_of_records_only_orders_the_pairs(all_parts, boxes) -> None:
    some = all_parts[:300]
    forwards = sorted(build_qa(some, boxes), key=lambda pair: pair["question_id"])
    backwards = sorted(build_qa(some[::-1], boxes), key=lambda pair: pair["question_id"])
    assert forwards == backwards


def test_both_orders_of_sides_are_right(pairs) -> None:
    asked = of_type(pairs, "stud_dimensions")
    assert asked
    for pair in asked:
        short, long = pair["answer"].split(" x ")
        assert int(short) <= int(long)
        assert set(pair["answers"]) == {f"{short} x {long}", f"{long} x {short}"}


@pytest.mark.parametrize(
    ("size", "box", "fits"),
    [
        ((2, 4), (4.0, 1.2, 2.0), True),
        ((2, 4), (2.5, 1.2, 4.4), True),
        ((2, 4), (2.7, 1.2, 4.0), False),
        ((2, 4), (8.0, 1.2, 4.0), False),  # Duplo counts studs of twice the size
    ],
)
def test_size_questions_need_a_box_that_agrees(
    size: tuple[int, int], box: tuple[float, float, float], fits: bool
) -> None:
    assert fits_box(size, box) is fits


def test_objects_whose_box_disagrees_are_not_asked_for_their_size(all_parts) -> None:
    part = next(p for p in all_parts if p["description"] == "Brick 2 x 4")
    kinds = {p["question_type"] for p in build_qa([part], {part["object_id"]: [8.0, 1.2, 4.0]})}
    assert kinds == {"category", "color"}
    kinds = {p["question_type"] for p in build_qa([part], {part["object_id"]: [4.0, 1.2, 2.0]})}
    assert {"stud_dimensions", "longer_side"} <= kinds
