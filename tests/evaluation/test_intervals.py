"""Bootstrap intervals and the paired comparison."""

import numpy as np
import pytest

from lavis.common.errors import EvaluationError
from lavis.evaluation.intervals import bootstrap_ci, mean_ci, paired_bootstrap


def test_interval_is_seeded_and_independent_of_order():
    values = np.random.default_rng(0).random(300)
    assert mean_ci(values, seed=3) == mean_ci(values[::-1], seed=3)
    assert mean_ci(values, seed=3) != mean_ci(values, seed=4)


def test_interval_covers_the_true_mean_about_95_times_in_100():
    generator = np.random.default_rng(1)
    bounds = [mean_ci(generator.normal(2.0, 1.0, 60), n_resamples=400) for _ in range(200)]
    assert 0.89 <= np.mean([low <= 2.0 <= high for low, high in bounds]) <= 0.99


def test_interval_has_the_width_of_the_normal_approximation():
    values = np.random.default_rng(2).normal(size=2000)
    low, high = mean_ci(values, n_resamples=4000)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(2000), rel=0.06)


def test_rows_of_statistics_are_resampled_together():
    rows = np.stack([np.arange(50.0), 2 * np.arange(50.0)], axis=1)
    bounds = bootstrap_ci(rows, lambda draws: draws.mean(axis=1))
    assert bounds.shape == (2, 2)
    np.testing.assert_allclose(bounds[:, 1], 2 * bounds[:, 0])


def test_paired_bootstrap_tells_a_difference_from_noise():
    generator = np.random.default_rng(3)
    base, noise = generator.random(400), generator.normal(0, 0.1, 400)
    better = paired_bootstrap(base + 0.05 + noise, base)
    assert better.p_value < 0.001
    assert better.ci95[0] > 0
    same = paired_bootstrap(base + noise - noise.mean(), base)
    assert same.p_value > 0.5
    assert same.ci95[0] < 0 < same.ci95[1]


def test_identical_runs_are_not_significant_and_a_constant_gain_is():
    values = np.random.default_rng(4).random(100)
    assert paired_bootstrap(values, values).p_value == 1.0
    # A constant shift leaves no noise: no centred draw comes near the difference.
    assert paired_bootstrap(values + 0.1, values).p_value < 0.001


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [[[1.0]]]])
def test_values_that_cannot_be_resampled_are_refused(values):
    with pytest.raises(EvaluationError):
        mean_ci(values)


def test_runs_of_different_length_are_refused():
    with pytest.raises(EvaluationError, match="same items"):
        paired_bootstrap([1.0, 2.0], [1.0])
