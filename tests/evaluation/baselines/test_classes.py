"""Classifiers on toy objects, with classes that training has and with held-out ones."""

from __future__ import annotations

import numpy as np
import pytest

from lavis.evaluation.baselines import class_texts
from lavis.evaluation.baselines.class_texts import class_text_scores
from lavis.evaluation.baselines.classes import class_baselines, neighbour_scores
from lavis.evaluation.baselines.pool import pool_of

NAMES = ["ball", "brick", "gear", "plate"]


@pytest.fixture(scope="module")
def found(toys):
    return class_baselines(pool_of(toys.dataset(), toys.ASKED), NAMES)


def test_shape_is_recognised_and_classes_without_training_score_zero(found):
    for name in ("nearest_chamfer", "nearest_histogram", "extra_trees_on_histogram"):
        assert found[name].argmax(axis=1).tolist() == [1, 0], name
    for name in set(found) - {"most_frequent_class"}:
        assert (found[name][:, 2] == 0).all(), name
    assert found["most_frequent_class"].argmax(axis=1).tolist() == [1, 1]
    assert found["most_frequent_class"][0, 0] > found["most_frequent_class"][0, 3]
    assert found["forest_on_box"].sum(axis=1) == pytest.approx([1, 1])


def test_score_of_a_class_is_one_over_the_rank_of_its_nearest_object():
    order = np.array([[2, 0, 1]])
    scores = neighbour_scores(order, np.array([0, 0, -1]), 2)
    np.testing.assert_allclose(scores, [[1 / 2, 0]])


def test_held_out_classes_are_read_in_the_neighbours_texts(toys, monkeypatch):
    monkeypatch.setattr(class_texts, "K_TEXTS", 1)

    def embed(texts):
        return np.array([[float("ball" in t), float("ball" not in t)] for t in texts])

    pool = pool_of(toys.dataset(), ["asked_ball", "asked_brick"])
    found = class_text_scores(pool, ["round ball", "long brick"], embed)
    for name, scores in found.items():
        assert scores.argmax(axis=1).tolist() == [0, 1], name
    assert set(found) == {"neighbour_words", "neighbour_sentences", "forest_sentences"}


def test_what_the_data_lack_is_absent(toys):
    data = toys.dataset()
    del data.point_store
    assert set(class_baselines(pool_of(data, toys.ASKED), NAMES)) == {"most_frequent_class"}
    without = [{**e, "category": "unknown"} for e in toys.records()]
    data = toys.dataset(without)
    del data.point_store
    assert class_baselines(pool_of(data, toys.ASKED), NAMES) == {}
