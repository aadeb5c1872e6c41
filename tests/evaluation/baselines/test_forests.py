"""Forests are fitted once, and do not depend on the number of threads."""

from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_limits

from lavis.evaluation.baselines import forests
from lavis.evaluation.baselines.forests import class_posterior, fitted_forest


def data():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((80, 6)).astype(np.float32)
    return features, ["yes" if row[0] > 0 else "no" for row in features], features[:7] + 0.1


def test_equal_data_share_a_forest_and_other_data_do_not():
    features, labels, _ = data()
    first = fitted_forest("extra_trees", features, labels)
    assert fitted_forest("extra_trees", features.copy(), list(labels)) is first
    assert fitted_forest("random_forest", features, labels) is not first
    assert fitted_forest("extra_trees", features, labels[::-1]) is not first


def test_votes_are_the_same_with_any_number_of_threads(monkeypatch):
    features, labels, asked = data()
    names, first = class_posterior("extra_trees", features, labels, asked)
    monkeypatch.setattr(forests, "_fitted", {})
    with threadpool_limits(1):
        _, second = class_posterior("extra_trees", features, labels, asked)
    np.testing.assert_array_equal(first, second)
    assert names == ["no", "yes"]
    assert first.sum(axis=1).tolist() == [1.0] * 7
