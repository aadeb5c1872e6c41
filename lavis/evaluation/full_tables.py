"""The tables of docs/results.md: claims, then for each task every metric, baseline and control."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lavis.evaluation.claims import Claim, table_claims
from lavis.evaluation.formatting import ABSENT, format_value, markdown_table, words
from lavis.evaluation.multiple_tests import LEVEL, NOT_TESTED
from lavis.evaluation.run_records import RunRecord
from lavis.evaluation.summary_table import score_cell, seeds_cell, summary

_FIRST = ("Run", "Texts, protocol", "Split", "n", "Metric", "Score [95% CI]", "Seeds: mean ± sd")
_LAST = "Against the strongest baseline"
_LAST_TASK = "alignment study"  # a study, not a benchmark
Verdicts = Mapping[tuple[int, str], Claim]


def full_tables(runs: Sequence[RunRecord]) -> str:
    """Compose the claims with a note on scale and verdicts, and a section for each task."""
    claims = table_claims(runs)
    verdicts = {(id(claim.run.record), claim.metric): claim for claim in claims}
    tasks = sorted(dict.fromkeys(run.task for run in runs), key=lambda task: task == _LAST_TASK)
    sections = []
    for task in tasks:
        own = in_order([run for run in runs if run.task == task])
        sections += [f"## {task[0].upper()}{task[1:]}", task_table(own, verdicts)]
    claimed = ["## Claims", summary(runs)] if claims else []
    return "\n\n".join([*claimed, *sections])


def in_order(runs: Sequence[RunRecord]) -> list[RunRecord]:
    """Put the controls of each run directly under it; runs keep their order."""
    places = {name: place for place, name in enumerate(dict.fromkeys(run.name for run in runs))}
    return sorted(runs, key=lambda run: (places[run.name], run.split, run.alteration is not None))


def task_table(runs: Sequence[RunRecord], verdicts: Verdicts) -> str:
    """Lay out the rows (run, metric) of one task; metrics without a value have none."""
    baselines = list(dict.fromkeys(name for run in runs for name in run.record["baselines"]))
    columns = [words(name) for name in baselines]
    rows = [
        _row(run, metric, baselines, verdicts.get((id(run.record), metric)))
        for run in runs
        for metric, entry in run.record["metrics"].items()
        if entry["value"] is not None
    ]
    numbers = [*_FIRST[3:4], *_FIRST[5:], *columns]
    return markdown_table([*_FIRST, *columns, _LAST], numbers, rows)


def _row(run: RunRecord, metric: str, baselines: Sequence[str], claim: Claim | None) -> list[str]:
    return [
        run.condition or run.name + run.marks,
        run.protocol or ABSENT,
        words(run.split),
        run.n_items(metric),
        words(metric),
        score_cell(run, metric),
        seeds_cell(run, metric),
        *(_baseline_cell(run, metric, name) for name in baselines),
        _verdict_cell(claim),
    ]


def _baseline_cell(run: RunRecord, metric: str, baseline: str) -> str:
    value = run.record["baselines"].get(baseline, {}).get(metric)
    mark = run.baseline_mark(baseline) if value is not None else ""
    return format_value(metric, value) + mark


def _verdict_cell(claim: Claim | None) -> str:
    """Return e.g. "below nearest box, -38.1 [-76.7, -1.2]"; a dash for what is no claim."""
    if claim is None:
        return ABSENT
    if claim.baseline is None:
        return claim.verdict
    relation = {LEVEL: "level with", NOT_TESTED: "not tested against"}
    text = f"{relation.get(claim.verdict, claim.verdict)} {words(claim.baseline)}"
    return f"{text}, {claim.difference_text}" if claim.paired else text
