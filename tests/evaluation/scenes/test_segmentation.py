"""mIoU and accuracies against plain loops; classes that are absent; chance."""

from __future__ import annotations

import numpy as np
import pytest

from lavis.common.errors import EvaluationError
from lavis.evaluation.scenes.segmentation import (
    NONE_LABELLED,
    chance_confusions,
    confusion,
    segmentation_scores,
)

NAMES = ["wall", "floor", "chair", "lamp"]


def plain_scores(pairs, classes):
    """IoU and accuracy of points [(labels, predictions)], by counting one point at a time."""
    right, labelled, predicted = ([0] * classes for _ in range(3))
    for labels, guesses in pairs:
        for label, guess in zip(labels, guesses):
            if label != -1:
                right[label] += label == guess
                labelled[label] += 1
                predicted[guess] += 1
    iou = [
        r / (n + p - r) if n else None for r, n, p in zip(right, labelled, predicted, strict=True)
    ]
    recall = [r / n if n else None for r, n in zip(right, labelled, strict=True)]
    known = [value for value in iou if value is not None]
    macc = [value for value in recall if value is not None]
    return {
        "miou": sum(known) / len(known),
        "macc": sum(macc) / len(macc),
        "accuracy": sum(right) / sum(labelled),
    }, iou


def random_scenes(seed, scenes=5, classes=4):
    rng = np.random.default_rng(seed)
    for _ in range(scenes):
        labels = rng.integers(-1, classes, rng.integers(20, 60))
        wrong = rng.random(len(labels)) < 0.4
        yield labels, np.where(wrong, rng.integers(0, classes, len(labels)), np.maximum(labels, 0))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_scores_equal_plain_loops(seed):
    pairs = list(random_scenes(seed))
    counts = np.stack([confusion(*pair, 4) for pair in pairs])
    found = segmentation_scores(counts, list("abcde"), NAMES)
    expected, iou = plain_scores(pairs, 4)
    metrics = found.metrics()
    for name, value in expected.items():
        assert metrics[name]["value"] == pytest.approx(value, abs=1e-9)
        low, high = metrics[name]["ci95"]
        assert low <= value <= high
    assert [found.per_class[n]["iou"] for n in NAMES] == pytest.approx(iou)
    own = [plain_scores([pair], 4)[0]["miou"] for pair in pairs]
    assert list(found.items().values()) == pytest.approx(own)
    assert metrics["scene_miou"]["value"] == pytest.approx(np.mean(own))


def test_a_class_that_no_label_has_is_undefined_and_costs_only_the_others():
    counts = confusion(np.array([0, 0, 1, 1]), np.array([0, 3, 1, 1]), 4)[None]
    found = segmentation_scores(counts, ["a"], NAMES)
    assert found.per_class["lamp"] == {"iou": None, "accuracy": None}
    assert found.values["miou"].value == pytest.approx((0.5 + 1) / 2)


def test_scenes_without_labels_are_undefined_with_a_reason():
    none = confusion(np.full(5, -1), np.zeros(5, int), 4)
    some = confusion(np.array([0, 1]), np.array([0, 1]), 4)
    mixed = segmentation_scores(np.stack([none, some]), ["a", "b"], NAMES)
    assert mixed.items() == {"b": 1.0}
    empty = segmentation_scores(none[None], ["a"], NAMES)
    assert all(entry["value"] is None for entry in empty.metrics().values())
    assert set(empty.unavailable(NONE_LABELLED)) == set(empty.metrics())


@pytest.mark.parametrize(
    ("labels", "predicted"), [([0, 4], [0, 0]), ([-2], [0]), ([0], [4]), ([0], [-1]), ([0, 1], [0])]
)
def test_labels_and_predictions_outside_the_set_are_refused(labels, predicted):
    with pytest.raises(EvaluationError, match="0 to 3"):
        confusion(np.array(labels), np.array(predicted), 4)


def test_predictions_of_points_without_a_label_do_not_matter():
    assert confusion(np.array([-1, 0]), np.array([-1, 0]), 4).sum() == 1


def test_groups_and_their_harmonic_mean():
    counts = confusion(np.array([0, 0, 1, 2, 2, 3]), np.array([0, 0, 1, 2, 0, 0]), 4)[None]
    found = segmentation_scores(counts, ["a"], NAMES, {"seen": [0, 1], "held_out": [2, 3]})
    seen, held_out = (found.values[f"miou/{n}"].value for n in ("seen", "held_out"))
    assert (seen, held_out) == pytest.approx(((0.5 + 1) / 2, 0.25))
    harmonic = 2 * seen * held_out / (seen + held_out)
    assert found.values["harmonic_iou"].value == pytest.approx(harmonic)


def test_chance_is_the_mean_of_random_labels():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 40_000) ** 2 // 3  # unequal shares
    expected = segmentation_scores(
        chance_confusions(confusion(labels, labels, 4)[None]), ["a"], NAMES
    )
    drawn = segmentation_scores(
        confusion(labels, rng.integers(0, 4, len(labels)), 4)[None], ["a"], NAMES
    )
    for name in ("miou", "macc", "accuracy"):
        assert expected.values[name].value == pytest.approx(drawn.values[name].value, abs=0.01)
