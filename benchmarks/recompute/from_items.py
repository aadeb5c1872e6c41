"""Scores, intervals and comparisons from the per-item files alone: no text, no annotation."""

from __future__ import annotations

import math
from collections.abc import Mapping

from benchmarks.recompute.captions import interval_figures
from benchmarks.recompute.ledger import Figures
from benchmarks.recompute.resampling import intervals, paired_differences
from benchmarks.recompute.runs import Run

# Metrics that are means of items with another name; corpus BLEU is no mean of its items.
SOURCES = {"mean_length": "length"}
NOT_MEANS = ("bleu_", "meteor", "scanqa/bleu_", "scanqa/meteor")


def means(items: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each metric that is a mean over items."""
    found = {
        metric: math.fsum(values.values()) / len(values)
        for metric, values in items.items()
        if values and not metric.startswith(NOT_MEANS)
    }
    return found | {name: found[source] for name, source in SOURCES.items() if source in found}


def score_figures(run: Run) -> Figures:
    """Return the run's scores and their intervals."""
    columns = {name: [*values.values()] for name, values in run.items.items() if values}
    columns = {name: values for name, values in columns.items() if not name.startswith(NOT_MEANS)}
    columns |= {name: columns[source] for name, source in SOURCES.items() if source in columns}
    values: Figures = {("metrics", name, "value"): v for name, v in means(run.items).items()}
    return values | interval_figures(intervals(columns))


def baseline_figures(run: Run) -> Figures:
    """Return the scores of each baseline."""
    return {
        ("baselines", name, metric): value
        for name, items in run.baseline_items.items()
        for metric, value in means(items).items()
    }


def comparison_figures(run: Run) -> Figures:
    """Return number of items, differences, intervals and p-values of each claim."""
    claims = run.record["claims"]
    figures: Figures = {("claims", name): len(run.items.get(name, {})) for name in claims}
    if run.record["alteration"] is not None:  # a control claims nothing
        return figures
    pairs = {
        (claim, name): (run.items[claim], items[claim])
        for claim in claims
        for name, items in run.baseline_items.items()
        if claim in items and claim in run.items
    }
    for (claim, name), found in paired_differences(pairs).items():
        start = ("comparisons", claim, name)
        figures |= {(*start, key): found[key] for key in ("difference", "p_value", "n")}
        figures |= {(*start, "ci95", str(k)): bound for k, bound in enumerate(found["ci95"])}
    return figures


def from_items(run: Run) -> Figures:
    """Recompute everything that per-item values give."""
    return {**score_figures(run), **baseline_figures(run), **comparison_figures(run)}
