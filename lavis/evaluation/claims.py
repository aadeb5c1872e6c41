"""Headline claims of a table: each run against the strongest baseline of its split.

The strongest baseline is the one with the largest score. All paired tests of one table are one
family for Holm's correction (multiple_tests.py). Runs under a control make no claims, and one
evaluation makes each claim once: not again on the part of its split that controls are scored on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lavis.evaluation.formatting import format_difference, format_interval, format_value, words
from lavis.evaluation.multiple_tests import NOT_TESTED, holm, verdict
from lavis.evaluation.run_records import RunRecord


@dataclass(frozen=True)
class Claim:
    """One headline metric of one run.

    Attributes:
        run: the run.
        metric: its name.
        baseline: the strongest baseline; None when no baseline has the metric.
        baseline_value: its score.
        paired: the paired difference to it; None when it has no per-item values.
        adjusted_p: after Holm's correction over the table.
        verdict: above, level, below or not tested.
    """

    run: RunRecord
    metric: str
    baseline: str | None
    baseline_value: float | None
    paired: Mapping[str, Any] | None
    adjusted_p: float | None
    verdict: str

    @property
    def value(self) -> float:
        """Score of the run."""
        return self.run.record["metrics"][self.metric]["value"]

    @property
    def baseline_text(self) -> str:
        """The strongest baseline as "nearest box: 87.3 (1000 of 4700)"."""
        if self.baseline is None:
            return "none"
        score = format_value(self.metric, self.baseline_value)
        return f"{words(self.baseline)}: {score}{self.run.baseline_mark(self.baseline)}"

    @property
    def difference_text(self) -> str:
        """The difference with its interval, and its n where that is not the claim's."""
        if self.paired is None:
            return ""
        difference = format_difference(self.metric, self.paired["difference"])
        text = f"{difference} {format_interval(self.metric, self.paired['ci95'])}"
        n = self.paired["n"]
        return text if n == self.run.record["claims"][self.metric] else f"{text} (n {n})"


def table_claims(runs: Sequence[RunRecord]) -> list[Claim]:
    """Judge every claim of a table's runs.

    Args:
        runs: of one table; those that make no claims are passed over (`claiming_runs`).

    Returns:
        A claim for each (run, headline metric), in the order of the runs.
    """
    pairs = [(run, metric) for run in claiming_runs(runs) for metric in run.record["claims"]]
    strongest = [strongest_baseline(run.record, metric) for run, metric in pairs]
    paired = [
        run.record["comparisons"].get(metric, {}).get(name)
        for (run, metric), (name, _) in zip(pairs, strongest)
    ]
    adjusted = iter(holm([found["p_value"] for found in paired if found]))
    return [
        _judged(run, metric, baseline, found, next(adjusted) if found else None)
        for (run, metric), baseline, found in zip(pairs, strongest, paired)
    ]


def claiming_runs(runs: Sequence[RunRecord]) -> list[RunRecord]:
    """Return the runs that make claims: of one evaluation of a checkpoint, that of most items."""
    plain = [run for run in runs if run.alteration is None]
    most: Counter[tuple[Any, ...]] = Counter()
    for run in plain:
        most[_evaluation(run)] = max(most[_evaluation(run)], run.record["n_scored"])
    return [run for run in plain if run.record["n_scored"] == most[_evaluation(run)]]


def _evaluation(run: RunRecord) -> tuple[Any, ...]:
    """Return what two records of one evaluation share; a run without a checkpoint is alone."""
    checkpoint = run.record["checkpoint_hash"] or run.where
    return run.record["task"], run.split, run.protocol, checkpoint


def strongest_baseline(record: Mapping[str, Any], metric: str) -> tuple[str | None, float | None]:
    """Return name and score of the baseline with the largest score; the first name of equals."""
    scores = {name: row.get(metric) for name, row in record["baselines"].items()}
    known = {name: value for name, value in scores.items() if value is not None}
    if not known:
        return None, None
    name = min(known, key=lambda name: (-known[name], name))
    return name, known[name]


def _judged(
    run: RunRecord,
    metric: str,
    baseline: tuple[str | None, float | None],
    paired: Mapping[str, Any] | None,
    adjusted_p: float | None,
) -> Claim:
    judged = NOT_TESTED
    if paired is not None and adjusted_p is not None:
        judged = verdict(paired["ci95"], adjusted_p)
    return Claim(run, metric, *baseline, paired, adjusted_p, judged)
