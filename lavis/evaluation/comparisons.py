"""Paired comparisons of a run with its baselines, item by item, for the metrics record.

Each claim (headline metric) is compared with every baseline that has per-item values of it, over
the ids that both have. Which baseline is the strongest, and the correction for several claims, are
matters of a table: see claims.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from lavis.common.errors import EvaluationError
from lavis.evaluation.intervals import paired_bootstrap

Items = Mapping[str, float]  # {id: value}
_TOLERANCE = 1e-6  # between a score and the mean of its per-item values


class Paired(TypedDict):
    """How much the run scores above a baseline on the same items, not corrected for other tests."""

    difference: float
    ci95: list[float]
    p_value: float
    n: int


def paired_difference(own: Items, other: Items, *, seed: int = 0) -> Paired:
    """Compare two sets of per-item values over the ids that both have.

    Args:
        own: {id: value} of the run.
        other: {id: value} of the baseline.
        seed: of the resampling.

    Raises:
        EvaluationError: no common id, or NaN among the values.
    """
    common = sorted(own.keys() & other.keys())
    found = paired_bootstrap([own[i] for i in common], [other[i] for i in common], seed=seed)
    return {
        "difference": found.difference,
        "ci95": list(found.ci95),
        "p_value": found.p_value,
        "n": found.n,
    }


def compare_claims(
    claims: Sequence[str],
    metrics: Mapping[str, Mapping[str, Any]],
    per_item: Mapping[str, Items],
    baselines: Mapping[str, Mapping[str, Any]],
    baseline_items: Mapping[str, Mapping[str, Items]],
) -> dict[str, dict[str, Paired]]:
    """Compare each claim with every baseline that has per-item values of it.

    Args:
        claims: headline metrics; larger is better, and each is the mean of its per-item values.
        metrics: {metric: {"value": …}} of the run.
        per_item: {metric: {id: value}} of the run.
        baselines: {baseline: {metric: value}}.
        baseline_items: {baseline: {metric: {id: value}}}.

    Returns:
        {claim: {baseline: paired difference}}.

    Raises:
        EvaluationError: a claim without a score or per-item values, or a score that is not the
            mean of its per-item values.
    """
    return {
        claim: {
            name: _against(claim, name, per_item[claim], items[claim], baselines)
            for name, items in baseline_items.items()
            if claim in items
        }
        for claim in _checked_claims(claims, metrics, per_item)
    }


def _checked_claims(
    claims: Sequence[str], metrics: Mapping[str, Mapping[str, Any]], per_item: Mapping[str, Items]
) -> Sequence[str]:
    for claim in claims:
        if metrics.get(claim, {}).get("value") is None or not per_item.get(claim):
            raise EvaluationError(
                "a claim has no score or no per-item values",
                where=claim,
                got=f"scores {sorted(metrics)}, per item {sorted(per_item)}",
                expected="both of each headline metric",
            )
        _check_mean(metrics[claim]["value"], per_item[claim], claim)
    return claims


def _against(
    claim: str,
    baseline: str,
    own: Items,
    other: Items,
    baselines: Mapping[str, Mapping[str, Any]],
) -> Paired:
    value = baselines.get(baseline, {}).get(claim)
    if value is None:
        raise EvaluationError(
            "a baseline has per-item values of a metric without a score",
            where=f"baselines.{baseline}.{claim}",
        )
    _check_mean(value, other, f"baselines.{baseline}.{claim}")
    return paired_difference(own, other)


def _check_mean(value: float, items: Items, where: str) -> None:
    """A difference of per-item means must be the difference of the scores that a table shows."""
    mean = math.fsum(items.values()) / len(items) if items else math.nan
    if not abs(mean - float(value)) <= _TOLERANCE * max(1.0, abs(float(value))):
        raise EvaluationError(
            "a score is not the mean of its per-item values",
            where=where,
            got=f"score {value}, mean {mean} of {len(items)} items",
            fix="claim only metrics that are means over items",
        )
