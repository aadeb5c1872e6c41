"""A folder of runs as one page and one Markdown table, and two runs compared item by item.

    python -m lavis.evaluation.report --runs output                # results.html and results.md
    python -m lavis.evaluation.report --runs output --compare demo/retrieval full/retrieval
    python -m lavis.evaluation.report --runs output --compare a/qa,a_43/qa b/qa,b_43/qa

Every `*_metrics.json` below the folder is one run, named by its path; splits under a control belong
to the run of the split. The page has the headline claims with their strongest baselines, then every
metric; runs on different versions of the data are refused. Two runs are compared by the per-item
values that tasks write (`*_items.json`): paired bootstrap over the same items, Holm's correction
over the metrics; runs on different items are refused by name. A side of several runs, one for each
training seed, has the mean of an item over them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lavis.common.errors import EvaluationError, nearest
from lavis.common.files import replace_file
from lavis.evaluation.formatting import (
    ABSENT,
    format_difference,
    format_interval,
    format_value,
    markdown_table,
    words,
)
from lavis.evaluation.full_tables import full_tables
from lavis.evaluation.intervals import PairedDifference, paired_bootstrap
from lavis.evaluation.multiple_tests import ABOVE, BELOW, holm, verdict
from lavis.evaluation.read_records import checked_record, read_json
from lavis.evaluation.records import check_same_ids
from lavis.evaluation.report.markdown_page import html_page
from lavis.evaluation.result_hashes import check_hashes
from lavis.evaluation.run_records import RunRecord, check_data_versions, named
from lavis.evaluation.seeds import matching, read_seeds

_SUFFIX = "_metrics.json"


@dataclass(frozen=True)
class Run:
    """One evaluation found below the folder.

    Attributes:
        name: its path without `result/` and ending, e.g. "demo/retrieval/test".
        record: the metrics record.
        path: the metrics file.
    """

    name: str
    record: dict[str, Any]
    path: Path

    def per_item(self) -> dict[str, dict[str, float]]:
        """{metric: {id: value}}; empty for a run without per-item values."""
        path = self.path.with_name(self.path.name.removesuffix(_SUFFIX) + "_items.json")
        return read_json(path) if path.is_file() else {}


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Attributes:
        runs: one, or those of several training seeds.
    """

    runs: tuple[Run, ...]

    @property
    def name(self) -> str:
        """The names of the runs."""
        return ", ".join(run.name for run in self.runs)

    def per_item(self) -> dict[str, dict[str, float]]:
        """{metric: {id: mean over the runs}} of the metrics that all runs have.

        Raises:
            EvaluationError: the runs have different items.
        """
        found = [run.per_item() for run in self.runs]
        means = {}
        for metric in (name for name in found[0] if all(name in items for items in found)):
            for other in found[1:]:
                check_same_ids(found[0][metric], other[metric], what=f"items of {metric}")
            ids = found[0][metric]
            means[metric] = {i: float(np.mean([items[metric][i] for items in found])) for i in ids}
        return means


@dataclass(frozen=True)
class Comparison:
    """One metric of two runs.

    Attributes:
        metric: its name.
        first, second: means over the items.
        paired: first minus second.
        adjusted_p: after Holm's correction over the metrics of the comparison.
        verdict: above, level or below: the first against the second.
    """

    metric: str
    first: float
    second: float
    paired: PairedDifference
    adjusted_p: float
    verdict: str


def find_runs(folder: str | Path) -> list[Run]:
    """Read every metrics record below a folder, sorted by name; links are not followed.

    Raises:
        EvaluationError: none found, or a damaged one.
    """
    root = Path(folder)
    paths = [path for path in root.rglob(f"*{_SUFFIX}") if not _linked(path, root)]
    for path in paths:
        check_hashes(path)
    runs = [Run(_name(path, root), checked_record(read_json(path), path), path) for path in paths]
    if not runs:
        raise EvaluationError(
            "there are no runs to report", where=str(root), expected=f"*{_SUFFIX} below it"
        )
    return sorted(runs, key=lambda run: run.name)


def _linked(path: Path, root: Path) -> bool:
    """Whether a folder on the way is a link (`latest`), so that no run is listed twice."""
    return any(parent.is_symlink() for parent in path.parents if parent.is_relative_to(root))


def _name(path: Path, root: Path) -> str:
    parts = [part for part in path.relative_to(root).parts[:-1] if part != "result"]
    return "/".join([*parts, path.name.removesuffix(_SUFFIX)])


def compare_runs(first: Run | Side, second: Run | Side, *, seed: int = 0) -> list[Comparison]:
    """Paired differences of every metric that both sides have per item.

    Raises:
        EvaluationError: no common metric, or different items.
    """
    own, other = first.per_item(), second.per_item()
    common = [metric for metric in own if metric in other]
    if not common:
        raise EvaluationError(
            "two runs have no per-item values of a common metric",
            where=f"{first.name} and {second.name}",
            got=f"{sorted(own)[:5]} and {sorted(other)[:5]}",
            fix="evaluate again: tasks write *_items.json beside *_metrics.json",
        )
    pairs = [_pairs(metric, own[metric], other[metric]) for metric in common]
    paired = [paired_bootstrap(values[:, 0], values[:, 1], seed=seed) for values in pairs]
    adjusted = holm([found.p_value for found in paired])
    return [
        Comparison(
            metric, values[:, 0].mean(), values[:, 1].mean(), found, p, verdict(found.ci95, p)
        )
        for metric, values, found, p in zip(common, pairs, paired, adjusted)
    ]


def _pairs(metric: str, own: Mapping[str, float], other: Mapping[str, float]) -> np.ndarray:
    """Lay out the values of the same items side by side, [N,2]."""
    check_same_ids(own, other, what=f"items of {metric}")
    return np.array([[own[i], other[i]] for i in own], dtype=np.float64)


def side(runs: Sequence[Run], names: str) -> Side:
    """The runs of names that commas separate; see `chosen`."""
    return Side(tuple(chosen(runs, name.strip()) for name in names.split(",")))


def chosen(runs: Sequence[Run], name: str) -> Run:
    """The run of a name, or the only one whose name starts so.

    Raises:
        EvaluationError: none or several.
    """
    exact = [run for run in runs if run.name == name]
    found = exact or [run for run in runs if run.name.startswith(name.rstrip("/") + "/")]
    if len(found) != 1:
        names = [run.name for run in runs]
        raise EvaluationError(
            f"the name fits {len(found)} runs.{nearest(name, names)}",
            where="--compare",
            got=name,
            expected=f"one of {names[:20]}",
        )
    return found[0]


_COMPARED = {ABOVE: "first is higher", BELOW: "second is higher"}
_NOTE = (
    "Paired bootstrap over the same items, 10,000 resamples. p is two-sided, after Holm's "
    "correction over the metrics of this table; a run is higher when p is at most 0.05 and the "
    "interval excludes zero."
)


def comparison_table(rows: Sequence[Comparison], first: str, second: str) -> str:
    """Markdown table of a comparison."""
    numbers = (first, second, "Difference [95% CI]", "p (Holm)", "n")
    return markdown_table(["Metric", *numbers, "Verdict"], numbers, [_cells(row) for row in rows])


def _cells(row: Comparison) -> list[str]:
    difference = format_difference(row.metric, row.paired.difference)
    return [
        words(row.metric),
        format_value(row.metric, row.first),
        format_value(row.metric, row.second),
        f"{difference} {format_interval(row.metric, row.paired.ci95)}",
        f"{row.adjusted_p:.4f}",
        str(row.paired.n),
        _COMPARED.get(row.verdict, "no difference"),
    ]


def markdown(
    runs: Sequence[Run],
    comparison: tuple[Run | Side, Run | Side] | None = None,
    seeds: str | Path | None = None,
) -> str:
    """Claims and tables of all runs and, when asked for, the comparison of two.

    Args:
        runs: found below a folder.
        comparison: two of them, or two groups.
        seeds: folder of other training seeds (seeds.py); None has none.

    Raises:
        EvaluationError: several versions of the data, or runs that cannot be compared.
    """
    records = run_records(runs, seeds)
    text = f"# Results\n\n{full_tables(records)}\n"
    if comparison is not None:
        first, second = comparison
        rows = compare_runs(first, second)
        text += f"\n## {first.name} against {second.name}\n\n"
        text += comparison_table(rows, first.name, second.name) + "\n\n" + _NOTE + "\n"
    return text


def run_records(runs: Sequence[Run], seeds: str | Path | None = None) -> list[RunRecord]:
    """Name the records as tables want them, with the seeds of "<folder>_<task>".

    Raises:
        EvaluationError: several versions of the data.
    """
    known = read_seeds(seeds) if seeds is not None else {}
    records = []
    for run in runs:
        record = named(run.name, run.record, str(run.path))
        recipe = "_".join(run.name.split("/")[:-1])
        others = matching(run.record, known.get(recipe, ()), f"{seeds}/{recipe}")
        records.append(replace(record, seeds=others))
    check_data_versions(records)
    return records


def write_many(
    folder: str | Path,
    out: str | Path | None = None,
    compare: Sequence[str] = (),
    seeds: str | Path | None = None,
) -> tuple[Path, Path]:
    """Write results.html and results.md (or `out` and the same name ending in .md).

    Args:
        folder: of runs.
        out: the page; default <folder>/results.html.
        compare: two names of runs, or two lists of names with commas; or none.
        seeds: folder of other training seeds, or none.

    Raises:
        EvaluationError: no runs, damaged files, several versions of the data, runs that cannot be
            compared.
    """
    runs = find_runs(folder)
    pair = (side(runs, compare[0]), side(runs, compare[1])) if compare else None
    text = markdown(runs, pair, seeds)
    page = Path(out) if out is not None else Path(folder) / "results.html"
    table = page.with_suffix(".md")
    replace_file(page, html_page(f"Results: {Path(folder).as_posix()}", text).encode("utf-8"))
    replace_file(table, text.encode("utf-8"))
    return page, table


def overview(runs: Sequence[Run]) -> str:
    """One line per run for the terminal."""
    lines = []
    for run in runs:
        name, entry = next(iter(run.record["metrics"].items()), (ABSENT, {"value": None}))
        value = format_value(name, entry["value"])
        lines.append(f"{run.name:50s} {name:32s} {value:>8s}  n={run.record['n_scored']}")
    return "\n".join(lines)
