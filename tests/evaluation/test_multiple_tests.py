"""Holm's correction against values by hand and against an independent loop; the verdict rule."""

import numpy as np
import pytest

from lavis.common.errors import EvaluationError
from lavis.evaluation.multiple_tests import holm, verdict


def slow_holm(p_values):
    """Adjusted p of each: the smallest level at which Holm's steps reject it, found by search."""
    m = len(p_values)

    def rejected(level):
        found = set()
        for step, index in enumerate(sorted(range(m), key=lambda k: p_values[k])):
            if p_values[index] > level / (m - step):
                break
            found.add(index)
        return found

    levels = [min(1.0, p * k) for p in p_values for k in range(1, m + 1)] + [1.0]
    return [
        min((a for a in levels if k in rejected(a * (1 + 1e-12))), default=1.0) for k in range(m)
    ]


def test_values_by_hand():
    assert holm([]) == []
    assert holm([0.03]) == [0.03]
    # 0.01 x 4; 0.02 x 3; max(0.03 x 2, 0.06); max(0.9 x 1, …)
    np.testing.assert_allclose(holm([0.03, 0.01, 0.9, 0.02]), [0.06, 0.04, 0.9, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]


@pytest.mark.parametrize("seed", range(10))
def test_equal_to_the_stepwise_procedure(seed):
    rng = np.random.default_rng(seed)
    p_values = (rng.random(rng.integers(1, 12)) ** 3).round(3).tolist()
    np.testing.assert_allclose(holm(p_values), slow_holm(p_values), rtol=1e-9)


@pytest.mark.parametrize("bad", [-0.1, 1.1, float("nan")])
def test_what_is_not_a_p_value_is_refused(bad):
    with pytest.raises(EvaluationError, match="p-value"):
        holm([0.5, bad])


@pytest.mark.parametrize(
    ("ci95", "p", "expected"),
    [
        ([0.1, 0.2], 0.05, "above"),
        ([-0.2, -0.1], 0.01, "below"),
        ([0.1, 0.2], 0.051, "level"),
        ([0.0, 0.2], 0.01, "level"),
        ([-0.1, 0.0], 0.01, "level"),
    ],
)
def test_a_verdict_needs_interval_and_corrected_test(ci95, p, expected):
    assert verdict(ci95, p) == expected
