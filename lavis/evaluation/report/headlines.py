"""The headline scores of a run: value, 95% interval and every trivial baseline beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lavis.evaluation.report.run_folder import TaskResult
from lavis.evaluation.tables import ABSENT, format_value

NOTE = (
    "Accuracies, recalls, BLEU, ROUGE-L and CIDEr are shown times 100. Intervals: 95%, bootstrap "
    "over items. Against the best baseline: above or below when the whole interval lies there."
)
_CAPTIONING = (
    ("cider", "CIDEr"),
    ("bleu_4", "BLEU-4"),
    ("rouge_l", "ROUGE-L"),
    ("distinct_captions", "distinct captions"),
)
_RETRIEVAL = tuple(
    (f"{direction}/recall_at_{k}", f"{shown} R@{k}")
    for direction, shown in (
        ("text_to_object", "text → object"),
        ("object_to_text", "object → text"),
    )
    for k in (1, 5, 10)
)
_CLASSIFICATION = (("top_1", "top-1"), ("top_5", "top-5"))


@dataclass(frozen=True)
class Headline:
    """One row of the table, ready to show.

    Attributes:
        task: title of the task.
        metric: name of the metric.
        score: e.g. "45.7", or "87 of 100" for counts.
        interval: "[40.1, 51.2]" or a dash.
        baselines: (name, score) of every baseline that has this metric.
        verdict: "above", "within" or "below" the best baseline, or a dash without interval.
    """

    task: str
    metric: str
    score: str
    interval: str
    baselines: tuple[tuple[str, str], ...]
    verdict: str


def headlines(results: Sequence[TaskResult]) -> list[Headline]:
    """Rows of all tasks; a metric that the record lacks or could not compute has none."""
    return [
        _headline(result, key, label)
        for result in results
        for key, label in _wanted(result)
        if result.record["metrics"].get(key, {}).get("value") is not None
    ]


def _wanted(result: TaskResult) -> Sequence[tuple[str, str]]:
    if result.kind.folder != "qa":
        known = {
            "captioning": _CAPTIONING,
            "retrieval": _RETRIEVAL,
            "classification": _CLASSIFICATION,
        }
        return known[result.kind.folder]
    families = [key for key in result.record["metrics"] if key.startswith("exact_match/")]
    counts = result.record.get("extra", {}).get("per_family", {})
    rows = [("exact_match", "exact match")]
    for key in sorted(families):
        family = key.split("/", 1)[1]
        # A family of few questions has a wide interval or, all right or all wrong, a deceptive one.
        count = f" (n={counts[family]['n']})" if family in counts else ""
        rows.append((key, f"  {family.replace('_', ' ')}{count}"))
    return rows


def _headline(result: TaskResult, key: str, label: str) -> Headline:
    record = result.record
    entry, count = record["metrics"][key], key == "distinct_captions"
    # "text_to_object/recall_at_5" is a recall, "exact_match/color" an exact match.
    scale = key if key.startswith("exact_match") else key.split("/")[-1]
    rows = {name: row.get(key) for name, row in record["baselines"].items()}
    values = {name: value for name, value in rows.items() if value is not None}
    score = format_value(scale, entry["value"])
    interval = entry.get("ci95")
    return Headline(
        task=result.kind.title,
        metric=label,
        score=f"{score} of {record['n_scored']}" if count else score,
        interval=ABSENT
        if interval is None
        else f"[{format_value(scale, interval[0])}, {format_value(scale, interval[1])}]",
        baselines=tuple((n.replace("_", " "), format_value(scale, v)) for n, v in values.items()),
        verdict=ABSENT if count else _verdict(interval, list(values.values())),
    )


def _verdict(interval: Sequence[float] | None, baselines: Sequence[float]) -> str:
    if interval is None or not baselines:
        return ABSENT
    best = max(baselines)
    if interval[0] > best:
        return "above"
    return "below" if interval[1] < best else "within"


def text_table(rows: Sequence[Headline]) -> str:
    """Aligned table for a terminal, a blank line between tasks."""
    header = ("Task", "Metric", "Score", "95% interval", "Against best", "Trivial baselines")
    cells = [
        (
            row.task,
            row.metric,
            row.score,
            row.interval,
            row.verdict,
            ", ".join(f"{name} {score}" for name, score in row.baselines) or ABSENT,
        )
        for row in rows
    ]
    widths = [max(len(line[k]) for line in [header, *cells]) for k in range(len(header) - 1)]
    lines = [_line(header, widths), "  ".join("-" * width for width in [*widths, 17])]
    for previous, line in zip([cells[0], *cells], cells):
        if line[0] != previous[0]:
            lines.append("")
        lines.append(_line(line, widths))
    return "\n".join([*lines, "", NOTE])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Numbers to the right, names to the left, the last column as long as it is."""
    task, metric, score, interval, verdict = (
        cell.rjust(width) if k in (2, 3) else cell.ljust(width)
        for k, (cell, width) in enumerate(zip(cells, widths))
    )
    return "  ".join([task, metric, score, interval, verdict, cells[-1]]).rstrip()
