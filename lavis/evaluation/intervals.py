"""Seeded bootstrap: 95% intervals of a score and the paired comparison of two runs.

Rows are sorted before they are resampled, so an interval depends on the values and the seed, never
on the order in which the items were evaluated.

References: B. Efron, R. Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 13 and 16.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lavis.common.errors import EvaluationError

N_RESAMPLES = 1000
_CHUNK_VALUES = 4_000_000  # resampled values held at once (32 MB of float64)

Statistic = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class PairedDifference:
    """How much run A scores above run B on the same items.

    Attributes:
        difference: mean(A) - mean(B).
        ci95: bootstrap interval of the difference.
        p_value: two-sided; the chance of a difference at least this large if both were equal.
        n: number of paired items.
    """

    difference: float
    ci95: tuple[float, float]
    p_value: float
    n: int


def _checked(values: Sequence[float] | np.ndarray, what: str) -> np.ndarray:
    rows = np.asarray(values, dtype=np.float64)
    if rows.ndim not in (1, 2) or len(rows) == 0:
        raise EvaluationError(
            f"{what} cannot be resampled", got=rows.shape, expected="[N] or [N,K], N >= 1"
        )
    bad = np.flatnonzero(~np.isfinite(rows.reshape(len(rows), -1)).all(axis=1))
    if len(bad):
        raise EvaluationError(
            f"{what} hold NaN or infinity", got=f"{len(bad)} rows, first {bad[:5].tolist()}"
        )
    return rows


def _resample(rows: np.ndarray, statistic: Statistic, n_resamples: int, seed: int) -> np.ndarray:
    """Statistic of `n_resamples` draws with replacement, [n_resamples, ...]."""
    rows = np.sort(rows) if rows.ndim == 1 else rows[np.lexsort(rows.T[::-1])]
    generator = np.random.default_rng(seed)
    step = max(1, _CHUNK_VALUES // rows.size)
    draws = []
    for begin in range(0, n_resamples, step):
        size = (min(step, n_resamples - begin), len(rows))
        draws.append(statistic(rows[generator.integers(0, len(rows), size=size)]))
    return np.concatenate(draws)


def mean_statistic(draws: np.ndarray) -> np.ndarray:
    """Mean over the resampled items: [R,N] -> [R]."""
    return draws.mean(axis=1)


def median_statistic(draws: np.ndarray) -> np.ndarray:
    """Median over the resampled items: [R,N] -> [R]."""
    return np.median(draws, axis=1)


def bootstrap_ci(
    values: Sequence[float] | np.ndarray,
    statistic: Statistic = mean_statistic,
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> np.ndarray:
    """95% percentile interval of a statistic.

    Args:
        values: [N] per-item values or [N,K] per-item sufficient statistics.
        statistic: maps draws [R,N] or [R,N,K] to [R] or [R,M].
        n_resamples: 1000 keeps the interval's own error near 2% of its width.
        seed: same values and seed, same interval.

    Returns:
        [2] or [2,M]: lower and upper bound.

    Raises:
        EvaluationError: no rows, or a NaN among them.
    """
    draws = _resample(_checked(values, "per-item values"), statistic, n_resamples, seed)
    return np.percentile(draws, [2.5, 97.5], axis=0)


def mean_ci(
    values: Sequence[float] | np.ndarray, *, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """95% interval of the mean of per-item values [N]."""
    low, high = bootstrap_ci(values, n_resamples=n_resamples, seed=seed)
    return float(low), float(high)


def mean_metric(
    values: Sequence[float] | np.ndarray, *, seed: int = 0
) -> dict[str, float | list[float]]:
    """Mean of per-item values [N] and its 95% interval: {"value", "ci95"} of a metrics record."""
    return {"value": float(np.mean(values)), "ci95": list(mean_ci(values, seed=seed))}


def percentile_metric(value: float, draws: np.ndarray) -> dict[str, float | list[float]]:
    """A value and the 95% percentile interval of its resamples [R]: {"value", "ci95"}."""
    low, high = np.percentile(draws, [2.5, 97.5])
    # A value can lie outside its resamples by rounding, or where resampling is biased.
    return {"value": float(value), "ci95": [float(min(low, value)), float(max(high, value))]}


def centred_p_value(difference: float, draws: np.ndarray) -> float:
    """Two-sided p value of a difference from its resamples [R].

    Centred draws are draws under "no difference"; +1 keeps p above zero with finite draws. The
    slack keeps rounding from deciding when every item differs by the same amount.
    """
    slack = 1e-12 * max(1.0, abs(difference))
    extreme = np.count_nonzero(np.abs(draws - difference) >= abs(difference) - slack)
    return float((extreme + 1) / (len(draws) + 1))


def paired_bootstrap(
    first: Sequence[float] | np.ndarray,
    second: Sequence[float] | np.ndarray,
    *,
    n_resamples: int = 10_000,
    seed: int = 0,
) -> PairedDifference:
    """Compare two runs on the same items, in the same order.

    Args:
        first: [N] per-item values of run A.
        second: [N] per-item values of run B; second[i] is the same item as first[i].

    Raises:
        EvaluationError: the runs do not have the same number of items, or hold NaN.
    """
    a, b = _checked(first, "values of the first run"), _checked(second, "values of the second run")
    if a.shape != b.shape or a.ndim != 1:
        raise EvaluationError("paired runs must score the same items", got=(a.shape, b.shape))
    delta = a - b
    difference = float(delta.mean())
    draws = _resample(delta, mean_statistic, n_resamples, seed)
    low, high = np.percentile(draws, [2.5, 97.5])
    p_value = centred_p_value(difference, draws)
    return PairedDifference(difference, (float(low), float(high)), p_value, len(delta))
