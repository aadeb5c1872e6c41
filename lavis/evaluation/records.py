"""The schema of metrics.json and the checks of ids.

A metrics record holds what was scored (task, split, data version, ids expected and scored), the
scores with 95% intervals, the baselines, the paired comparisons of the headline claims, and the
origin (config and checkpoint hashes, git commit, seed). Files, hashes and the commit are in
provenance.py and exported here as well.

Version 2 adds claims, comparisons, data, baseline_pool and alteration.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, TypedDict

from lavis.common.errors import EvaluationError
from lavis.common.strict_json import to_plain
from lavis.evaluation.comparisons import Paired
from lavis.evaluation.provenance import config_hash, git_commit, write_json_atomic

__all__ = [
    "SCHEMA_VERSION",
    "MetricValue",
    "MetricsRecord",
    "build_metrics_record",
    "check_same_ids",
    "config_hash",
    "first_few",
    "git_commit",
    "validate_ids",
    "write_json_atomic",
]

SCHEMA_VERSION = 2
DATA_KEYS = ("name", "version", "split_file_sha256")
POOL_KEYS = ("used", "whole")


class MetricValue(TypedDict):
    """A score and its 95% interval; both None when the metric could not be computed."""

    value: float | None
    ci95: list[float] | None


class MetricsRecord(TypedDict):
    """Content of metrics.json (docs/evaluation.md, Files)."""

    schema_version: int
    task: str
    split: str
    metrics: dict[str, MetricValue]
    baselines: dict[str, dict[str, float | None]]
    claims: dict[str, int]
    comparisons: dict[str, dict[str, Paired]]
    data: dict[str, Any] | None
    baseline_pool: dict[str, int] | None
    alteration: str | None
    n_expected: int
    n_scored: int
    skipped: list[str]
    config_hash: str | None
    checkpoint_hash: str | None
    git_commit: str | None
    seed: int | None
    extra: dict[str, Any]


def first_few(ids: Iterable[object], limit: int = 5) -> str:
    """Name the first ids and the number of further ones: "'a', 'b' and 3 more"."""
    listed = list(ids)
    shown = ", ".join(repr(i) for i in listed[:limit])
    return shown if len(listed) <= limit else f"{shown} and {len(listed) - limit} more"


def check_same_ids(expected: Collection[Any], got: Collection[Any], what: str) -> None:
    """Raise EvaluationError unless both hold the same ids and at least one.

    Args:
        expected: ids that have a reference.
        got: ids that have a prediction.
        what: for the message, e.g. "captions".
    """
    if not expected and not got:
        raise EvaluationError(f"no {what} to score", expected="at least one item")
    known, given = set(expected), set(got)
    missing = [i for i in expected if i not in given]
    unexpected = [i for i in got if i not in known]
    _raise_on_id_problems(what, len(known), missing=missing, unexpected=unexpected)


def validate_ids(
    expected_ids: Iterable[Any], records: Iterable[Mapping[str, Any]], id_key: str
) -> None:
    """Check that every expected id has exactly one record and nothing else has one.

    Args:
        expected_ids: the ids of the split.
        records: gathered prediction records.
        id_key: their id field, e.g. "image_id".

    Raises:
        EvaluationError: names missing, duplicate and unexpected ids, or a record without `id_key`.
    """
    expected = list(dict.fromkeys(expected_ids))
    listed = list(records)
    without = [k for k, record in enumerate(listed) if id_key not in record]
    if without:
        raise EvaluationError(
            f"{len(without)} records have no {id_key!r}",
            where=f"records number {first_few(without)}",
            got=sorted(map(str, listed[without[0]])),
        )
    counts = Counter(record[id_key] for record in listed)
    known = set(expected)
    _raise_on_id_problems(
        "predictions",
        len(expected),
        missing=[i for i in expected if i not in counts],
        duplicate=[i for i, count in counts.items() if count > 1],
        unexpected=[i for i in counts if i not in known],
    )


def _raise_on_id_problems(what: str, n_expected: int, **problems: list[Any]) -> None:
    found = [f"{len(ids)} {problem}: {first_few(ids)}" for problem, ids in problems.items() if ids]
    if found:
        raise EvaluationError(
            f"{what} and references do not have the same ids",
            got="; ".join(found),
            expected=f"each of {n_expected} ids exactly once",
            fix="evaluate the whole split again; ids must have one type (3001 is not '3001')",
        )


def build_metrics_record(
    task: str,
    split: str,
    metrics: Mapping[str, Mapping[str, Any]],
    baselines: Mapping[str, Mapping[str, Any]],
    n_expected: int,
    n_scored: int,
    config_hash: str | None,
    git_commit: str | None,
    seed: int | None,
    checkpoint_hash: str | None,
    extra: Mapping[str, Any] | None = None,
    skipped: Sequence[object] = (),
    *,
    claims: Mapping[str, int] | None = None,
    comparisons: Mapping[str, Mapping[str, Paired]] | None = None,
    data: Mapping[str, Any] | None = None,
    baseline_pool: Mapping[str, Any] | None = None,
    alteration: str | None = None,
) -> MetricsRecord:
    """Compose a checked metrics record.

    Args:
        metrics: {name: {"value": number or None, "ci95": [low, high] or None}}.
        baselines: {baseline: {metric name: number}}.
        n_expected: items of the split.
        n_scored: items behind the scores.
        skipped: ids that were left out on purpose; n_expected - n_scored of them.
        extra: anything else (tokenizer, per-class table); numpy scalars and arrays are converted.
        claims: {headline metric: number of its items}.
        comparisons: {headline metric: {baseline: paired difference}} (comparisons.py).
        data: {"name", "version", "split_file_sha256"}; None when the data set has no version.
        baseline_pool: {"used", "whole"}: training objects behind the baselines, and all of them.
        alteration: control or corruption of the clouds; None for the split as it is.

    Raises:
        EvaluationError: a NaN score, an interval that is not [low, high], a baseline for an unknown
            metric, an incomplete data version or pool, or an n_scored that the skipped ids do not
            explain.
    """
    if n_scored <= 0 or n_scored + len(skipped) != n_expected:
        raise EvaluationError(
            "the number of scored items is not the number of expected items",
            where=f"{task}/{split}",
            got=f"n_scored {n_scored} and {len(skipped)} skipped ids",
            expected=f"n_expected {n_expected}",
        )
    extra = dict(extra or {})
    if n_scored == 1:  # resamples of one item are all equal: no interval
        metrics = {name: {**entry, "ci95": None} for name, entry in metrics.items()}
        extra["unavailable"] = {**extra.get("unavailable", {}), "ci95": "one item has no interval"}
    return {
        "schema_version": SCHEMA_VERSION,
        "task": task,
        "split": split,
        "metrics": {name: _metric(name, entry) for name, entry in metrics.items()},
        "baselines": {name: _baseline(name, row, metrics) for name, row in baselines.items()},
        "claims": {name: int(count) for name, count in (claims or {}).items()},
        "comparisons": to_plain(dict(comparisons or {})),
        "data": _with_keys("data", data, DATA_KEYS),
        "baseline_pool": _with_keys("baseline_pool", baseline_pool, POOL_KEYS),
        "alteration": alteration,
        "n_expected": int(n_expected),
        "n_scored": int(n_scored),
        "skipped": [str(i) for i in skipped],
        "config_hash": config_hash,
        "checkpoint_hash": checkpoint_hash,
        "git_commit": git_commit,
        "seed": None if seed is None else int(seed),
        "extra": to_plain(extra),
    }


def _with_keys(where: str, value: Any, keys: Sequence[str]) -> dict[str, Any] | None:
    """Return a plain mapping that has exactly `keys`, or None."""
    if value is None:
        return None
    if not isinstance(value, Mapping) or set(value) != set(keys):
        raise EvaluationError(
            "a part of the record is incomplete", where=where, got=value, expected=keys
        )
    return {key: to_plain(value[key]) for key in keys}


def _number(where: str, value: Any) -> float | None:
    plain = to_plain(value)
    if plain is None:
        return None
    if isinstance(plain, bool) or not isinstance(plain, int | float) or not math.isfinite(plain):
        raise EvaluationError("a score is not a finite number", where=where, got=repr(value))
    return plain


def _metric(name: str, entry: Mapping[str, Any]) -> MetricValue:
    value, interval = _number(name, entry["value"]), entry.get("ci95")
    if interval is None:
        return {"value": value, "ci95": None}
    bounds = [_number(f"{name}.ci95", bound) for bound in interval]
    if len(bounds) != 2 or None in bounds or bounds[0] > bounds[1]:  # type: ignore[operator]
        raise EvaluationError("an interval must be [low, high]", where=f"{name}.ci95", got=bounds)
    return {"value": value, "ci95": bounds}  # type: ignore[typeddict-item]


def _baseline(
    baseline: str, row: Mapping[str, Any], metrics: Collection[str]
) -> dict[str, float | None]:
    unknown = [name for name in row if name not in metrics]
    if unknown:
        raise EvaluationError(
            "a baseline reports a metric that the run does not",
            where=f"baselines.{baseline}",
            got=first_few(unknown),
            expected=sorted(metrics),
        )
    return {name: _number(f"baselines.{baseline}.{name}", value) for name, value in row.items()}
