"""A folder of runs as one page and one Markdown table, and two runs compared item by item.

    python -m lavis.evaluation.report --runs output                # results.html and results.md
    python -m lavis.evaluation.report --runs output --compare demo/retrieval full/retrieval

Every `*_metrics.json` below the folder is one run, named by its path. Two runs are compared by the
per-item values that tasks write (`*_items.json`): paired bootstrap over the same items, so runs on
different items are refused by name instead of compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from lavis.common.errors import EvaluationError, explain, nearest
from lavis.evaluation.intervals import PairedDifference, paired_bootstrap
from lavis.evaluation.provenance import replace_file
from lavis.evaluation.read_records import checked_record, read_json
from lavis.evaluation.records import check_same_ids
from lavis.evaluation.report.page import content_policy, read_asset
from lavis.evaluation.tables import ABSENT, format_value, results_tables

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
class Comparison:
    """One metric of two runs."""

    metric: str
    first: float
    second: float
    paired: PairedDifference


def find_runs(folder: str | Path) -> list[Run]:
    """Read every metrics record below a folder, sorted by name; links are not followed.

    Raises:
        EvaluationError: none found, or a damaged one.
    """
    root = Path(folder)
    paths = [path for path in root.rglob(f"*{_SUFFIX}") if not _linked(path, root)]
    runs = [Run(_name(path, root), checked_record(read_json(path), path), path) for path in paths]
    if not runs:
        raise EvaluationError(
            explain("there are no runs to report", where=str(root), expected=f"*{_SUFFIX} below it")
        )
    return sorted(runs, key=lambda run: run.name)


def _linked(path: Path, root: Path) -> bool:
    """Whether a folder on the way is a link (`latest`), so that no run is listed twice."""
    return any(parent.is_symlink() for parent in path.parents if parent.is_relative_to(root))


def _name(path: Path, root: Path) -> str:
    parts = [part for part in path.relative_to(root).parts[:-1] if part != "result"]
    return "/".join([*parts, path.name.removesuffix(_SUFFIX)])


def compare_runs(first: Run, second: Run, *, seed: int = 0) -> list[Comparison]:
    """Paired differences of every metric that both runs have per item.

    Raises:
        EvaluationError: no common metric, or different items.
    """
    own, other = first.per_item(), second.per_item()
    common = [metric for metric in own if metric in other]
    if not common:
        raise EvaluationError(
            explain(
                "two runs have no per-item values of a common metric",
                where=f"{first.name} and {second.name}",
                got=f"{sorted(own)[:5]} and {sorted(other)[:5]}",
                fix="evaluate again: tasks write *_items.json beside *_metrics.json",
            )
        )
    rows = []
    for metric in common:
        a, b = own[metric], other[metric]
        check_same_ids(a, b, what=f"items of {metric}")
        pairs = np.array([[a[i], b[i]] for i in a], dtype=np.float64)  # [N,2]
        paired = paired_bootstrap(pairs[:, 0], pairs[:, 1], seed=seed)
        rows.append(Comparison(metric, pairs[:, 0].mean(), pairs[:, 1].mean(), paired))
    return rows


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
            explain(
                f"the name fits {len(found)} runs.{nearest(name, names)}",
                where="--compare",
                got=name,
                expected=f"one of {names[:20]}",
            )
        )
    return found[0]


def comparison_table(rows: Sequence[Comparison], first: str, second: str) -> str:
    """Markdown table of a comparison; a difference is significant when its interval omits zero."""
    header = ["Metric", first, second, "Difference [95% CI]", "p", "n", ""]
    lines = ["| " + " | ".join(header) + " |", "| --- " + "| ---: " * 5 + "| --- |"]
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in rows]
    return "\n".join(lines)


def _cells(row: Comparison) -> list[str]:
    low, high = row.paired.ci95
    difference = format_value(row.metric, row.paired.difference)
    interval = f"[{format_value(row.metric, low)}, {format_value(row.metric, high)}]"
    verdict = "first is higher" if low > 0 else "second is higher" if high < 0 else "no difference"
    return [
        row.metric.replace("_", " "),
        format_value(row.metric, row.first),
        format_value(row.metric, row.second),
        f"{difference} {interval}",
        f"{row.paired.p_value:.4f}",
        str(row.paired.n),
        verdict,
    ]


def markdown(runs: Sequence[Run], comparison: tuple[Run, Run] | None = None) -> str:
    """The table of all runs and, when asked for, the comparison of two."""
    text = "# Results\n\n" + results_tables(_named_records(runs)) + "\n"
    if comparison is not None:
        first, second = comparison
        rows = compare_runs(first, second)
        text += f"\n## {first.name} against {second.name}\n\n"
        text += comparison_table(rows, first.name, second.name) + "\n\n" + _NOTE + "\n"
    return text


_NOTE = (
    "Paired bootstrap over the same items, 10,000 resamples; p is two-sided and not corrected for "
    "the number of metrics."
)


def _named_records(runs: Sequence[Run]) -> list[Mapping[str, Any]]:
    return [
        {**run.record, "extra": {**run.record.get("extra", {}), "name": run.name}} for run in runs
    ]


def html_page(title: str, text: str) -> str:
    """The Markdown of this module as a page that loads nothing."""
    style = read_asset("style.css")
    body = "\n".join(_html_block(block) for block in text.strip().split("\n\n"))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{content_policy(style)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style></head>\n"
        f"<body><main>\n{body}\n</main></body></html>\n"
    )


def _html_block(block: str) -> str:
    """A heading, a table or a paragraph."""
    if block.startswith("#"):
        level = len(block) - len(block.lstrip("#"))
        return f"<h{level}>{escape(block.lstrip('# '))}</h{level}>"
    if not block.startswith("|"):
        return f"<p>{_inline(block)}</p>"
    header, rule, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in block.split("\n")
    ]
    right = [cell.endswith(":") for cell in rule]
    head = "".join(f'<th scope="col">{_inline(cell)}</th>' for cell in header)
    body = "".join(
        "<tr>" + "".join(_data(cell, number) for cell, number in zip(row, right)) + "</tr>"
        for row in rows
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="wide" tabindex="0">{table}</div>'


def _data(cell: str, number: bool) -> str:
    return f'<td class="number">{_inline(cell)}</td>' if number else f"<td>{_inline(cell)}</td>"


def _inline(text: str) -> str:
    parts = escape(text).split("**")
    return "".join(f"<b>{part}</b>" if k % 2 else part for k, part in enumerate(parts))


def write_many(
    folder: str | Path, out: str | Path | None = None, compare: Sequence[str] = ()
) -> tuple[Path, Path]:
    """Write results.html and results.md (or `out` and the same name ending in .md).

    Args:
        folder: of runs.
        out: the page; default <folder>/results.html.
        compare: two names of runs, or none.

    Raises:
        EvaluationError: no runs, damaged files, runs that cannot be compared.
    """
    runs = find_runs(folder)
    pair = (chosen(runs, compare[0]), chosen(runs, compare[1])) if compare else None
    text = markdown(runs, pair)
    page = Path(out) if out is not None else Path(folder) / "results.html"
    table = page.with_suffix(".md")
    replace_file(page, html_page(f"Results: {Path(folder).as_posix()}", text).encode("utf-8"))
    replace_file(table, text.encode("utf-8"))
    return page, table


def summary(runs: Sequence[Run]) -> str:
    """One line per run for the terminal."""
    lines = []
    for run in runs:
        name, entry = next(iter(run.record["metrics"].items()), (ABSENT, {"value": None}))
        value = format_value(name, entry["value"])
        lines.append(f"{run.name:50s} {name:32s} {value:>8s}  n={run.record['n_scored']}")
    return "\n".join(lines)
