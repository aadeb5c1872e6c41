"""Classification: top-k, class mean, confusion, baselines, bad input."""

import numpy as np
import pytest

from lavis.common.errors import EvaluationError
from lavis.evaluation.classification import (
    chance_accuracy,
    classification_scores,
    most_frequent_accuracy,
)

NAMES = ["brick", "plate", "tile", "slope", "gear", "wheel"]


def test_top_k_equals_sorting():
    generator = np.random.default_rng(0)
    scores, labels = generator.standard_normal((50, 6)), generator.integers(0, 6, 50)
    result = classification_scores(scores, labels, NAMES)
    order = np.argsort(-scores, axis=1)
    for k in (1, 3, 5):
        expected = np.mean([label in row[:k] for label, row in zip(labels, order, strict=True)])
        assert result.values[f"top_{k}"] == pytest.approx(expected)
    assert result.confusion.sum() == 50
    assert np.trace(result.confusion) == result.values["top_1"] * 50


def test_class_mean_weighs_every_occurring_class_the_same():
    labels = [0, 0, 0, 1]
    result = classification_scores(np.eye(6)[[0, 0, 0, 2]], labels, NAMES)
    assert result.values["top_1"] == 0.75
    assert result.values["class_mean_accuracy"] == 0.5
    assert result.per_class["brick"] == {"n": 3, "top_1": 1.0, "top_5": 1.0}
    assert result.per_class["gear"] == {"n": 0}
    assert result.confusion[1, 2] == 1
    low, high = result.metrics(n_resamples=200)["class_mean_accuracy"]["ci95"]
    assert low <= 0.5 <= high


def test_perfect_scores_reach_the_maximum_and_collapsed_ones_the_minimum():
    labels = np.arange(6)
    assert set(classification_scores(np.eye(6), labels, NAMES).values.values()) == {1.0}
    assert set(classification_scores(np.zeros((6, 6)), labels, NAMES).values.values()) == {0.0}


def test_permuting_items_and_classes_changes_nothing():
    generator = np.random.default_rng(1)
    scores, labels = generator.standard_normal((30, 6)), generator.integers(0, 6, 30)
    items, classes = generator.permutation(30), generator.permutation(6)
    moved = np.argsort(classes)
    permuted = classification_scores(
        scores[items][:, classes], moved[labels[items]], [NAMES[c] for c in classes]
    )
    first = classification_scores(scores, labels, NAMES)
    assert permuted.values == pytest.approx(first.values)
    assert permuted.per_class == first.per_class


def test_baselines():
    assert chance_accuracy(4) == {
        "top_1": 0.25,
        "top_3": 0.75,
        "top_5": 1.0,
        "class_mean_accuracy": 0.25,
    }
    frequent = most_frequent_accuracy([2, 2, 2, 1, 1, 0], [2, 2, 1, 3])
    assert frequent["top_1"] == 0.5
    assert frequent["top_3"] == 0.75
    assert frequent["class_mean_accuracy"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("scores", "labels", "names", "named"),
    [
        (np.zeros((2, 2)), [0, 2], ["a", "b"], "item-b"),
        (np.zeros((2, 2)), [-1, 0], ["a", "b"], "item-a"),
        (np.zeros((2, 2)), [0.5, 1.0], ["a", "b"], "item-a"),
        (np.array([[0, 1], [np.nan, 0]]), [0, 1], ["a", "b"], "item-b"),
        (np.zeros((2, 3)), [0, 1], ["a", "b"], "disagree"),
        (np.zeros((2, 2)), [0, 1], ["a", "a"], "1 distinct"),
        (np.zeros((0, 2)), [], ["a", "b"], "disagree"),
    ],
)
def test_bad_input_is_refused_by_name(scores, labels, names, named):
    with pytest.raises(EvaluationError, match=named):
        classification_scores(scores, labels, names, item_ids=["item-a", "item-b"])
