"""IoU of masks, accuracies, and the expectation of a random object."""

from __future__ import annotations

import numpy as np
import pytest

from lavis.evaluation.scenes.referring import mask_iou, random_object, referring_items


def test_iou_of_masks():
    a, b = np.array([1, 1, 0, 0], bool), np.array([0, 1, 1, 0], bool)
    assert mask_iou(a, b) == pytest.approx(1 / 3)
    assert mask_iou(a, a) == 1.0
    assert mask_iou(a & ~a, b) == 0.0
    assert mask_iou(a & ~a, a & ~a) == 0.0


def test_accuracies_need_more_than_the_threshold():
    items = referring_items([0.25, 0.26, 0.5, 0.51])
    assert items["accuracy_25"].tolist() == [0, 1, 1, 1]
    assert items["accuracy_50"].tolist() == [0, 0, 0, 1]


def test_random_object_is_the_share_of_the_target_among_the_candidates():
    instance = np.array([0, 0, 1, 2, -1, -1])
    semantic = np.array([4, 4, 4, 7, 1, -1])
    assert random_object(instance, semantic, 1)["iou"] == pytest.approx(1 / 3)
    assert random_object(instance, semantic, 1, [4])["accuracy_50"] == pytest.approx(1 / 2)
    assert random_object(instance, semantic, 1, [7])["iou"] == 0.0
    assert random_object(instance, semantic, 1, [])["iou"] == 0.0
