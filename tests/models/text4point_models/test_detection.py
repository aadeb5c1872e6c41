"""Detection: boxes of each scene, scores, turned boxes, and batches without boxes."""

from __future__ import annotations

import pytest
import torch

from lavis.common.errors import DataError


@pytest.mark.parametrize(("turned", "columns"), [(False, 6), (True, 7)])
def test_boxes_are_scored_best_first(build, rooms, turned, columns):
    found = build("detection", turned=turned).eval().detect(rooms)
    assert len(found) == 2
    for one in found:
        assert one["boxes"].shape == (len(one["labels"]), columns)
        assert len(one["scores"]) == len(one["labels"])
        assert (one["scores"].diff() <= 0).all()
        assert (one["scores"] >= 0.01).all()
        assert one["labels"].min() >= 0
        assert one["labels"].max() < 3


def test_a_high_threshold_leaves_no_boxes(build, rooms):
    for one in build("detection", least_score=1.0).eval().detect(rooms):
        assert one["boxes"].shape == (0, 6)


def test_padding_changes_nothing(build, rooms):
    model = build("detection").eval()
    (alone,) = model.detect({"point_cloud": rooms["point_cloud"][:1, :80]})
    both = model.detect(rooms)[0]
    for name, value in alone.items():
        torch.testing.assert_close(both[name], value)


def test_turned_boxes_train(build, rooms):
    turn = [torch.full((len(boxes), 1), 0.5) for boxes in rooms["boxes"]]
    rooms["boxes"] = [torch.cat(pair, 1) for pair in zip(rooms["boxes"], turn)]
    rooms.pop("semantic_label")  # SUN RGB-D has no classes of points here
    losses = build("detection", turned=True).train()(rooms)
    assert losses["loss_map"] == 0
    losses["loss"].backward()


@pytest.mark.parametrize("absent", ["boxes", "box_label"])
def test_a_batch_without_boxes_is_refused(build, rooms, absent):
    del rooms[absent]
    with pytest.raises(DataError, match="boxes"):
        build("detection")(rooms)


@pytest.mark.parametrize("label", [3, -1])
def test_a_box_of_another_class_is_refused_by_scene(build, rooms, label):
    rooms["box_label"][1] = rooms["box_label"][1].clone().fill_(label)
    with pytest.raises(DataError, match="room_1"):
        build("detection")(rooms)
