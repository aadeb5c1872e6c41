"""mAP@0.25 and mAP@0.5 against VoteNet's evaluation in plain loops; overlap of turned boxes."""

from __future__ import annotations

import numpy as np
import pytest

from lavis.common.errors import EvaluationError
from lavis.evaluation.scenes.boxes import box_overlaps, common_area, plan
from lavis.evaluation.scenes.detection import detection_scores, match_boxes
from tests.evaluation.scenes.votenet_reference import class_ap, votenet_map

NAMES = ["chair", "table", "lamp"]


def plain_iou(a, b):
    """VoteNet's get_iou of axis-aligned boxes (centre, size)."""
    common = 1.0
    for axis in range(3):
        low = max(a[axis] - a[axis + 3] / 2, b[axis] - b[axis + 3] / 2)
        high = min(a[axis] + a[axis + 3] / 2, b[axis] + b[axis + 3] / 2)
        if low >= high:
            return 0.0
        common *= high - low
    return common / (np.prod(a[3:6]) + np.prod(b[3:6]) - common)


def random_scene(rng, columns=6):
    count = rng.integers(1, 6)
    boxes = np.concatenate([rng.uniform(0, 3, (count, 3)), rng.uniform(0.5, 2, (count, 3))], 1)
    labels = rng.integers(0, 3, count)
    rows = rng.integers(0, count, 12)
    found = boxes[rows] + rng.normal(0, 0.12, (12, 6))
    kinds = np.where(rng.random(12) < 0.8, labels[rows], rng.integers(0, 3, 12))
    if columns == 7:
        boxes, found = (np.c_[b, rng.uniform(-3, 3, len(b))] for b in (boxes, found))
    return boxes, labels, found, kinds, np.round(rng.random(12), 1)


def ours(scenes):
    matches = [match_boxes(*scene, 3) for scene in scenes]
    return detection_scores(matches, [str(k) for k in range(len(scenes))], NAMES)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("columns", [6, 7])
def test_scores_equal_votenets_evaluation(seed, columns):
    rng = np.random.default_rng(seed)
    scenes = [random_scene(rng, columns) for _ in range(4)]

    def turned_iou(a, b):
        return float(box_overlaps(np.array([a]), np.array([b]))[0, 0])

    iou = plain_iou if columns == 6 else turned_iou
    found = ours(scenes)
    for name, threshold in (("map_25", 0.25), ("map_50", 0.5)):
        assert found.values[name].value == pytest.approx(
            votenet_map(scenes, 3, threshold, iou), abs=1e-9
        )
        per_class = [class_ap(scenes, k, threshold, iou) for k in range(3)]
        own = [
            np.nan if found.per_class[n][name] is None else found.per_class[n][name] for n in NAMES
        ]
        assert own == pytest.approx(per_class, abs=1e-9, nan_ok=True)
    own = [votenet_map([scene], 3, 0.25, iou) for scene in scenes]
    assert list(found.items().values()) == pytest.approx(own, abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_overlap_of_turned_boxes_is_that_of_sampled_volume(seed):
    rng = np.random.default_rng(seed)
    a, b = (
        np.r_[rng.uniform(-0.3, 0.3, 3), rng.uniform(0.6, 1.5, 3), rng.uniform(-3, 3)] for _ in "ab"
    )
    xyz = rng.uniform(-1.4, 1.4, (800_000, 3))

    def inside(box):
        local = xyz - box[:3]
        x = local[:, 0] * np.cos(box[6]) - local[:, 2] * np.sin(box[6])
        z = local[:, 0] * np.sin(box[6]) + local[:, 2] * np.cos(box[6])
        return (np.abs(np.c_[x, local[:, 1], z]) <= box[3:6] / 2).all(1)

    first, second = inside(a), inside(b)
    sampled = (first & second).sum() / (first | second).sum()
    assert box_overlaps(a[None], b[None])[0, 0] == pytest.approx(sampled, abs=0.01)
    assert box_overlaps(a[None], a[None])[0, 0] == pytest.approx(1.0)


def test_a_turn_by_a_right_angle_swaps_the_sides():
    a = np.array([0.0, 0, 0, 2, 1, 1, np.pi / 2])
    b = np.array([0.0, 0, 0, 1, 1, 2, 0])
    assert box_overlaps(a[None], b[None])[0, 0] == pytest.approx(1.0)
    assert common_area(plan(a), plan(b)) == pytest.approx(2.0)


def test_aligned_overlap_equals_plain_and_touching_boxes_share_nothing():
    rng = np.random.default_rng(0)
    boxes = np.c_[rng.uniform(0, 2, (8, 3)), rng.uniform(0.5, 2, (8, 3))]
    expected = [[plain_iou(a, b) for b in boxes] for a in boxes]
    assert box_overlaps(boxes, boxes) == pytest.approx(np.array(expected))
    turned = np.c_[boxes, np.zeros(8)]
    assert box_overlaps(turned, turned) == pytest.approx(np.array(expected))
    beside = np.array([[0.0, 0, 0, 1, 1, 1], [1.0, 0, 0, 1, 1, 1]])
    assert box_overlaps(beside[:1], beside[1:])[0, 0] == 0


def none(columns=6):
    return np.zeros((0, columns)), np.zeros(0, int), np.zeros(0)


def test_empty_scenes_and_classes():
    box = np.array([[0.0, 0, 0, 1, 1, 1]])
    assert ours([(box, np.array([0]), *none())]).values["map_25"].value == 0.0
    empty = ours([(*none()[:2], *none())])
    assert all(entry["value"] is None for entry in empty.metrics().values())
    # A class without a box in the split does not count, however often it is predicted.
    found = np.repeat(box, 2, 0), np.array([0, 2]), np.array([0.5, 0.9])
    assert ours([(box, np.array([0]), *found)]).values["map_50"].value == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("boxes", "labels", "scores"),
    [
        (np.zeros((1, 5)), [0], [0.5]),
        (np.zeros((1, 6)), [3], [0.5]),
        (np.full((1, 6), np.nan), [0], [0.5]),
        (np.zeros((1, 6)), [0], [np.inf]),
        (np.zeros((2, 6)), [0], [0.5]),
    ],
)
def test_boxes_that_cannot_be_scored_are_refused(boxes, labels, scores):
    truth = np.array([[0.0, 0, 0, 1, 1, 1]]), np.array([0])
    with pytest.raises(EvaluationError, match="boxes cannot be scored"):
        match_boxes(*truth, boxes, np.array(labels), np.array(scores), 3)
