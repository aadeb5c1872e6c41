"""Splits: by group, stable when objects are added, and no geometry in two of them."""

from __future__ import annotations

from collections import Counter

import pytest

from lavis.datasets.convert.splits import LEFT_OUT, Member, split_objects

MANY = [Member(f"o{i}", f"g{i}") for i in range(2000)]


def test_shares_are_about_those_that_were_asked_for() -> None:
    counts = Counter(split_objects(MANY, 0.1, 0.2).values())
    assert counts["test"] == pytest.approx(400, abs=60)
    assert counts["val"] == pytest.approx(200, abs=50)
    assert set(split_objects(MANY, 0, 0).values()) == {"train"}


def test_an_added_object_moves_no_other_one() -> None:
    before = split_objects(MANY[:50], 0.2, 0.2)
    after = split_objects([Member("a", "new"), *MANY], 0.2, 0.2)
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize("key", ["geometry", "group"])
def test_a_group_is_in_one_split(key: str) -> None:
    members = [
        Member(f"o{i}", *((f"k{i % 40}", "") if key == "geometry" else (f"g{i}", f"k{i % 40}")))
        for i in range(400)
    ]
    splits = split_objects(members, 0.2, 0.2)
    for number in range(40):
        assert len({splits[f"o{i}"] for i in range(number, 400, 40)}) == 1


def test_equal_geometry_in_two_groups_stays_in_one_split() -> None:
    members = [Member(f"o{i}", f"g{i % 100}", f"k{i}") for i in range(300)]
    splits = split_objects(members, 0.2, 0.2)
    assert LEFT_OUT in splits.values()
    for number in range(100):
        kept = {splits[f"o{i}"] for i in range(number, 300, 100)} - {LEFT_OUT}
        assert len(kept) == 1


def test_a_split_of_the_user_is_kept_and_evaluation_comes_before_training() -> None:
    members = [
        Member("a", "g", split="train"),
        Member("b", "g", split="val"),
        Member("c", "h", split="test"),
    ]
    assert split_objects(members, 0.1, 0.1) == {"a": LEFT_OUT, "b": "val", "c": "test"}
