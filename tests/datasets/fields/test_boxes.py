"""Boxes of labelled points."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lavis.datasets.fields.boxes import LEAST_POINTS, BoxLoader, MovedBoxLoader, boxes_of
from lavis.datasets.fields.frames import Move
from lavis.processors.point_transforms import rotation_xyz
from lavis.processors.scene_transforms import SceneEvalProcessor, SceneTrainProcessor


class Scenes:
    """Four objects of 40 points and a floor."""

    def load_points(self, object_id: str) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(int(object_id))
        instance = np.repeat([-1, 0, 3, 5, 9], 40)
        xyz = rng.normal(size=(200, 3)) + 4 * instance[:, None]
        label = np.where(instance < 0, 1, instance % 4)
        order = rng.permutation(200)
        fields = {
            "xyz": xyz.astype(np.float32),
            "semantic_label": label,
            "instance_label": instance,
        }
        return {name: values[order] for name, values in fields.items()}

    def load(self, object_id: str) -> np.ndarray:
        return self.load_points(object_id)["xyz"]

    def scale(self, object_id: str) -> float:
        return 1.0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 999))
def test_boxes_are_the_extents_of_their_points(seed: int) -> None:
    points = Scenes().load_points(str(seed))
    found = boxes_of(points["xyz"], points["semantic_label"], points["instance_label"])
    assert found["box_instance"].tolist() == [0, 3, 5, 9]
    assert found["box_label"].tolist() == [0, 3, 1, 1]
    for box, instance in zip(found["boxes"].numpy(), (0, 3, 5, 9)):
        own = points["xyz"][points["instance_label"] == instance]
        np.testing.assert_allclose(box[:3], (own.min(0) + own.max(0)) / 2, atol=1e-4)
        np.testing.assert_allclose(box[3:], np.ptp(own, axis=0), atol=1e-4)


def test_objects_of_few_points_or_without_a_class_have_no_box() -> None:
    xyz = np.random.default_rng(0).normal(size=(30, 3))
    instance = np.repeat([0, 1, 2], [LEAST_POINTS - 1, LEAST_POINTS, 30 - 2 * LEAST_POINTS + 1])
    semantic = np.where(instance == 2, -1, 4)
    assert boxes_of(xyz, semantic, instance)["box_instance"].tolist() == [1]
    nothing = boxes_of(xyz, semantic, np.full(30, -1))
    assert nothing["boxes"].shape == (0, 6)
    assert nothing["box_label"].shape == (0,)


def test_evaluation_takes_all_points_and_training_the_processed_ones() -> None:
    record, rng = {"object_id": "4"}, np.random.default_rng(0)
    few = SceneEvalProcessor.from_config({"num_points": 60, "use_color": False})
    one, other = BoxLoader(Scenes(), few).load(record, rng), Scenes().load_points("4")
    whole = boxes_of(other["xyz"], other["semantic_label"], other["instance_label"])
    np.testing.assert_array_equal(one["boxes"], whole["boxes"])
    assert len(one["point_cloud"]) == 60
    random = SceneTrainProcessor.from_config({"num_points": 150, "use_color": False})
    moved = MovedBoxLoader(Scenes(), random).load(record, np.random.default_rng(1))
    for box, instance in zip(moved["boxes"], moved["box_instance"]):
        own = moved["point_cloud"][moved["instance_label"] == instance]
        assert (own >= box[:3] - box[3:] / 2 - 1e-4).all()
        assert (own <= box[:3] + box[3:] / 2 + 1e-4).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 9999), st.floats(-3.1, 3.1), st.floats(0.5, 2))
def test_a_turn_a_scale_and_a_shift_are_found(seed: int, turn: float, scale: float) -> None:
    rng = np.random.default_rng(seed)
    before, shift = rng.normal(size=(50, 3)) + rng.normal(size=3) * 5, rng.normal(size=3)
    after = scale * before @ rotation_xyz(0.0, turn, 0.0).T + shift
    move = Move.between(before, after)
    assert move.turn == pytest.approx(turn, abs=1e-6)
    assert move.scale == pytest.approx(scale, rel=1e-6)
    box = np.array([[*before[0], 1.0, 2.0, 3.0, 0.3]])
    expected = [*after[0], scale, 2 * scale, 3 * scale, 0.3 + turn]
    np.testing.assert_allclose(move.boxes(box)[0], expected, atol=1e-4)
