"""Every expression has exactly one referent by its plain meaning."""

from __future__ import annotations

import numpy as np
import pytest

from lavis.datasets.download_scripts.rooms.classes import BRICK
from lavis.datasets.download_scripts.rooms.expressions import APART, Thing, describe, gap
from lavis.datasets.download_scripts.rooms.room import Plan, make_room
from tests.datasets.download_scripts.rooms.box_furniture import box_catalogue

PLAN = Plan(num_points=3000, views=2, width=32, height=24)


def things_in(record) -> list[Thing]:
    return [
        Thing(
            t["instance"],
            t["label"],
            np.array(t["box"]),
            t["support"],
            t["points"],
            t["name"].split(" ")[0] if t["label"] == BRICK else "",
        )
        for t in record["instances"]
    ]


def referents(kind: str, label: str, anchor: Thing | None, things: list[Thing]) -> list[Thing]:
    """Every object of a class that satisfies a condition, by its plain meaning."""
    same = [thing for thing in things if thing.label == label and thing is not anchor]
    if kind == "only":
        return same
    if kind.startswith("color "):
        return [thing for thing in same if thing.color == kind.removeprefix("color ")]
    if kind in ("largest", "tallest"):
        sizes = {t.instance: t.box[3:].prod() if kind == "largest" else t.box[4] for t in same}
        return sorted(same, key=lambda t: -sizes[t.instance])[:1]
    if kind == "on":
        return [thing for thing in same if thing.support == anchor.instance]
    if kind == "next to":
        return [thing for thing in same if gap(thing.box, anchor.box) <= APART]
    by_distance = sorted(same, key=lambda t: gap(t.box, anchor.box))
    return by_distance[:1] if kind == "closest" else by_distance[-1:]


@pytest.mark.parametrize("number", range(8))
def test_expressions_of_rooms_have_one_referent(number: int) -> None:
    record = make_room("test", number, box_catalogue(), PLAN).record
    things = things_in(record)
    assert record["expressions"]
    for expression in record["expressions"]:
        anchor = things[expression["anchor"]] if expression["anchor"] >= 0 else None
        found = referents(expression["kind"], expression["label"], anchor, things)
        assert [t.instance for t in found] == [expression["target"]], expression["text"]
        assert expression["label"] in expression["text"]
        if anchor is not None:
            assert sum(t.label == anchor.label for t in things) == 1  # the anchor is unique, too
            assert anchor.label in expression["text"]


def thing(instance: int, label: str, x: float, size: float = 0.5, **more) -> Thing:
    box = np.array([x, size / 2, 0, size, size, size])
    return Thing(instance, label, box, more.pop("support", -1), more.pop("points", 99), **more)


def test_an_ambiguous_object_gets_no_expression() -> None:
    twins = [thing(0, "chair", -1.0), thing(1, "chair", 1.0), thing(2, "table", 0.0)]
    found = describe(twins, np.random.default_rng(0), 9)
    assert {e.text for e in found} <= {"the table", "the only table in the room"}


def test_the_relation_names_the_near_one() -> None:
    room = [thing(0, "chair", 0.8), thing(1, "chair", 3.0), thing(2, "bed", 0.0)]
    found = {e.kind: e for e in describe(room, np.random.default_rng(0), 9)}
    assert found["next to"].target == found["closest"].target == 0
    assert found["farthest"].target == 1
    assert "bed" in found["next to"].text


def test_hidden_objects_are_no_targets_and_still_make_others_ambiguous() -> None:
    room = [thing(0, "lamp", 0.0), thing(1, "lamp", 5.0, points=0)]
    assert describe(room, np.random.default_rng(0), 9) == []


def test_gap_of_boxes() -> None:
    assert gap(thing(0, "a", 0.0).box, thing(1, "a", 0.9).box) == pytest.approx(0.4)
    assert gap(thing(0, "a", 0.0).box, thing(1, "a", 0.3).box) == 0
