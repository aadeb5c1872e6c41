"""Verdicts on several comparisons at once: Holm's correction and the rule for "above".

References: S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal
of Statistics 6, 1979.
"""

from __future__ import annotations

from collections.abc import Sequence

from lavis.common.errors import EvaluationError

ALPHA = 0.05
ABOVE, LEVEL, BELOW, NOT_TESTED = "above", "level", "below", "not tested"


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values so that the chance of any false "different" stays below the level.

    The i-th smallest of m p-values is multiplied by m - i (i from 0); an adjusted value is never
    smaller than that of a smaller p-value, and never above 1.

    Args:
        p_values: of all comparisons of one table; the family.

    Returns:
        Adjusted p-values in the order given; compare each with the level itself.

    Raises:
        EvaluationError: a value outside [0, 1], NaN included.
    """
    bad = [p for p in p_values if not 0 <= p <= 1]
    if bad:
        raise EvaluationError("not a p-value", got=bad[:5], expected="numbers in [0, 1]")
    adjusted, largest = [0.0] * len(p_values), 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=lambda k: p_values[k])):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def verdict(ci95: Sequence[float], adjusted_p: float) -> str:
    """Return "above" or "below" where interval and corrected test agree, else "level".

    Args:
        ci95: 95% interval of the paired difference.
        adjusted_p: its p-value after Holm's correction.
    """
    if adjusted_p > ALPHA or ci95[0] <= 0 <= ci95[1]:
        return LEVEL
    return ABOVE if ci95[0] > 0 else BELOW
