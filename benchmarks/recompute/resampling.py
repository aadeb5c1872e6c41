"""Intervals, paired differences and corrected p-values, from docs/evaluation.md (Statistics).

The documented algorithm: values are sorted, `default_rng(0).integers` draws rows with replacement,
95% percentile interval (Efron and Tibshirani 1993, chapters 13 and 16), Holm 1979. Here all columns
of one length share their draws, as counts of each row: one matrix product instead of indexing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

N_SCORE = 1000  # resamples behind the interval of a score
N_DIFFERENCE = 10_000  # resamples behind a paired difference
SEED = 0
BLOCK = 2_000_000  # drawn rows held at once
ALPHA = 0.05

Items = Mapping[str, float]  # {id: value}
Columns = Mapping[Any, Sequence[float] | np.ndarray]


def drawn_counts(n: int, resamples: int) -> Iterator[np.ndarray]:
    """Yield how often each of n rows is drawn, int64 [r,n], `resamples` rows in all."""
    generator = np.random.default_rng(SEED)
    step = max(1, BLOCK // n)
    for begin in range(0, resamples, step):
        size = min(step, resamples - begin)
        flat = generator.integers(0, n, size=(size, n)) + n * np.arange(size)[:, None]
        yield np.bincount(flat.ravel(), minlength=size * n).reshape(size, n)


def resampled_sums(rows: np.ndarray, resamples: int) -> np.ndarray:
    """Return sums over drawn rows [N,K]: [resamples,K]."""
    counts = drawn_counts(len(rows), resamples)
    return np.concatenate([block.astype(np.float64) @ rows for block in counts])


def resampled_means(columns: Columns, resamples: int) -> dict[Any, np.ndarray]:
    """Return the resampled means [resamples] of each column; columns of one length share draws."""
    by_length: dict[int, list[Any]] = {}
    for name, values in columns.items():
        by_length.setdefault(len(values), []).append(name)
    found: dict[Any, np.ndarray] = {}
    for n, names in by_length.items():
        rows = np.array([sorted(columns[name]) for name in names], dtype=np.float64).T  # [n,K]
        means = resampled_sums(rows, resamples) / n
        found.update(zip(names, means.T))
    return found


def percentiles(draws: np.ndarray) -> list[float]:
    """Return the 2.5th and the 97.5th percentile, linear between neighbours."""
    ordered = np.sort(draws)
    places = np.array([0.025, 0.975]) * (len(ordered) - 1)
    below = np.floor(places).astype(int)
    above = np.minimum(below + 1, len(ordered) - 1)
    low, high = ordered[below], ordered[above]
    return [float(bound) for bound in low + (high - low) * (places - below)]


def intervals(columns: Columns) -> dict[Any, list[float]]:
    """Return the 95% interval of the mean of each column."""
    return {name: percentiles(d) for name, d in resampled_means(columns, N_SCORE).items()}


def median_interval(values: Sequence[float]) -> list[float]:
    """Return the 95% interval of the median, from counts of the sorted values."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    n, medians = len(ordered), []
    for block in drawn_counts(n, N_SCORE):
        reached = block.cumsum(axis=1)  # [r,n]
        # The median is the mean of the two middle values; they are one value for odd n.
        middle = [(reached > place).argmax(axis=1) for place in ((n - 1) // 2, n // 2)]
        medians.append((ordered[middle[0]] + ordered[middle[1]]) / 2)
    return percentiles(np.concatenate(medians))


def paired_differences(pairs: Mapping[Any, tuple[Items, Items]]) -> dict[Any, dict[str, Any]]:
    """Compare pairs of per-item values over the ids that both have.

    Args:
        pairs: {name: (values of the run, values of the other)}.

    Returns:
        {name: {"difference", "ci95", "p_value", "n"}}, p-values not corrected.
    """
    deltas = {
        name: np.array([own[i] - other[i] for i in own if i in other], dtype=np.float64)
        for name, (own, other) in pairs.items()
    }
    draws = resampled_means(deltas, N_DIFFERENCE)
    return {name: tested(deltas[name], draws[name]) for name in pairs}


def tested(delta: np.ndarray, draws: np.ndarray) -> dict[str, Any]:
    """Return difference, interval and two-sided p-value of one comparison."""
    difference = float(delta.sum() / len(delta))
    # Differences of equal size count as such: rounding must not decide.
    slack = 1e-12 * max(1.0, abs(difference))
    extreme = int((np.abs(draws - difference) + slack >= abs(difference)).sum())
    return {
        "difference": difference,
        "ci95": percentiles(draws),
        "p_value": (extreme + 1) / (len(draws) + 1),
        "n": len(delta),
    }


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values, in the order given."""
    order = np.argsort(p_values, kind="stable")
    factors = len(p_values) - np.arange(len(p_values))
    raised = np.maximum.accumulate(np.asarray(p_values, dtype=np.float64)[order] * factors)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(raised, 1.0)
    return [float(p) for p in adjusted]


def verdict(ci95: Sequence[float], adjusted_p: float) -> str:
    """Return "above" or "below" where the interval excludes zero and the corrected p is small."""
    if adjusted_p <= ALPHA and ci95[0] > 0:
        return "above"
    return "below" if adjusted_p <= ALPHA and ci95[1] < 0 else "level"
