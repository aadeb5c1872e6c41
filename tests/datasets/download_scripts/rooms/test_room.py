"""A prepared room: labels, boxes and frames agree with each other."""

from __future__ import annotations

import numpy as np
import pytest

from lavis.datasets.download_scripts.rooms.classes import (
    FIRST_SEGMENT,
    FLOOR_LABEL,
    FLOOR_SEGMENT,
    HELD_OUT,
    STRUCTURE,
)
from lavis.datasets.download_scripts.rooms.room import CLASS_NAMES, Plan, make_room
from lavis.datasets.rendering.cameras import Camera
from tests.datasets.download_scripts.rooms.box_furniture import box_catalogue

PLAN = Plan(num_points=4000, views=3, width=64, height=48)


@pytest.fixture(scope="module")
def room():
    return make_room("train", 1, box_catalogue(), PLAN)


def test_points_carry_the_labels_of_their_objects(room) -> None:
    points, things = room.points, room.record["instances"]
    assert {len(values) for values in points.values()} == {PLAN.num_points}
    names = [CLASS_NAMES[label] for label in points["semantic_label"]]
    for name, instance in zip(names, points["instance_label"]):
        assert (instance < 0) == (name in STRUCTURE)
        assert instance < 0 or things[instance]["label"] == name
    counts = np.bincount(points["instance_label"] + 1, minlength=len(things) + 1)[1:]
    assert [thing["points"] for thing in things] == counts.tolist()


def test_points_lie_on_their_boxes_and_the_floor_is_flat(room) -> None:
    xyz, instance = room.points["xyz"], room.points["instance_label"]
    for thing in room.record["instances"]:
        centre, size = np.split(np.array(thing["box"]), 2)
        own = xyz[instance == thing["instance"]]
        assert (np.abs(own - centre) <= size / 2 + 1e-3).all()
    floor = room.points["semantic_label"] == CLASS_NAMES.index(FLOOR_LABEL)
    assert np.abs(xyz[floor, 1]).max() < 1e-5
    assert (room.points["normal"][floor, 1] > 0.99).all()  # up, into the room


def test_frames_show_the_objects_of_the_record(room) -> None:
    for frame, facts in zip(room.frames, room.record["cameras"], strict=True):
        camera = Camera(
            *(np.array(facts[k]) for k in ("position", "rotation")), facts["focal"], 64, 48
        )
        points, pixels = frame.points(camera)
        segment = frame.object_id[pixels[:, 1], pixels[:, 0]]
        assert np.abs(points[segment == FLOOR_SEGMENT, 1]).max(initial=0) < 1e-3
        for place in set((segment - FIRST_SEGMENT)[segment >= FIRST_SEGMENT].tolist()):
            centre, size = np.split(np.array(room.record["instances"][place]["box"]), 2)
            own = points[segment == place + FIRST_SEGMENT]
            assert (np.abs(own - centre) <= size / 2 + 2e-3).all()


def test_rooms_are_reproducible_and_splits_share_no_object() -> None:
    rooms = {
        split: make_room(split, 0, box_catalogue(), PLAN) for split in ("train", "val", "test")
    }
    again = make_room("val", 0, box_catalogue(), PLAN)
    assert again.record == rooms["val"].record
    for name, values in rooms["val"].points.items():
        np.testing.assert_array_equal(values, again.points[name])
    used = [{t["source_id"] for t in room.record["instances"]} for room in rooms.values()]
    assert not used[0] & used[1] | used[0] & used[2] | used[1] & used[2]
    labels = {t["label"] for room in rooms.values() for t in room.record["instances"]}
    assert not labels & set(HELD_OUT)


def test_held_out_rooms_have_a_held_out_class() -> None:
    for number in range(3):
        room = make_room("held_out", number, box_catalogue(), PLAN)
        assert {t["label"] for t in room.record["instances"]} & set(HELD_OUT)
