"""The headline scores of a run: interval, seeds, strongest baseline, verdict, controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lavis.evaluation.claims import Claim, strongest_baseline, table_claims
from lavis.evaluation.formatting import ABSENT, format_interval, format_value, words
from lavis.evaluation.report.run_folder import TaskResult
from lavis.evaluation.seeds import spread

NOTE = (
    "Accuracies, recalls, BLEU, ROUGE-L and CIDEr are shown times 100. Intervals: 95%, bootstrap "
    "over items. Seeds: mean and standard deviation over training seeds. Difference: model minus "
    "the strongest baseline, paired over the same items. Verdict: above or below when the interval "
    "excludes zero and the test is significant at 5% after Holm's correction over the tested "
    f"claims of this page, else level. {ABSENT}: no headline claim, or no such value."
)
_COLUMNS = (
    *("Task", "Metric", "Score", "95% interval", "Seeds", "Verdict", "Strongest baseline"),
    *("Difference", "All baselines; controls"),
)
_CAPTIONING = (
    ("cider", "CIDEr"),
    ("bleu_4", "BLEU-4"),
    ("rouge_l", "ROUGE-L"),
    ("distinct_captions", "distinct captions"),
    ("distinct_1", "distinct-1"),
    ("distinct_2", "distinct-2"),
)
_RETRIEVAL = tuple(
    (f"{direction}{stage}/recall_at_{k}", f"{shown} R@{k}{label}")
    for direction, shown in (
        ("text_to_object", "text → object"),
        ("object_to_text", "object → text"),
    )
    for stage, label in (("", ""), ("_ptc", ", contrast alone"))
    for k in (1, 5, 10)
)
_CLASSIFICATION = (("top_1", "top-1"), ("top_5", "top-5"))
_SEGMENTATION = (("miou", "mIoU"), ("macc", "mAcc"), ("accuracy", "accuracy"))
_KNOWN = {
    "captioning": _CAPTIONING,
    "retrieval": _RETRIEVAL,
    "classification": _CLASSIFICATION,
    "segmentation": _SEGMENTATION,
    "open_vocabulary": (
        *_SEGMENTATION,
        ("miou/seen", "mIoU, classes of training"),
        ("miou/held_out", "mIoU, held-out classes"),
        ("harmonic_iou", "harmonic mean of both"),
        ("held_out_only/miou", "mIoU, held-out names alone"),
    ),
    "instances": (("ap", "AP"), ("ap_50", "AP50"), ("ap_25", "AP25")),
    "detection": (("map_25", "mAP@0.25"), ("map_50", "mAP@0.5")),
    "referring": (("iou", "mIoU"), ("accuracy_25", "acc@0.25"), ("accuracy_50", "acc@0.5")),
}


@dataclass(frozen=True)
class Headline:
    """One row of the table, ready to show.

    Attributes:
        task: title of the task.
        metric: name of the metric.
        score: e.g. "45.7", or "87 of 100" for counts.
        interval: "[40.1, 51.2]" or a dash.
        seeds: "45.1 ± 1.2 (3)" or a dash.
        strongest: the strongest baseline with its score, or a dash.
        difference: to it, with its interval, or a dash.
        verdict: "above", "level", "below" or "not tested"; a dash where nothing is claimed.
        baselines: (name, score) of every baseline that has this metric.
        controls: (name, score) of the model under each control.
    """

    task: str
    metric: str
    score: str
    interval: str
    seeds: str
    strongest: str
    difference: str
    verdict: str
    baselines: tuple[tuple[str, str], ...]
    controls: tuple[tuple[str, str], ...]


def headlines(results: Sequence[TaskResult]) -> list[Headline]:
    """Rows of all tasks; a metric that the record lacks or could not compute has none."""
    claims = table_claims([result.run for result in results])
    judged = {(claim.run.where, claim.metric): claim for claim in claims}
    return [
        _headline(result, key, label, judged.get((result.run.where, key)))
        for result in results
        for key, label in _wanted(result)
        if result.record["metrics"].get(key, {}).get("value") is not None
    ]


def _wanted(result: TaskResult) -> Sequence[tuple[str, str]]:
    """Return (metric, label) of the rows of a task; claims that are not listed come last."""
    listed = _questions(result) if result.kind.folder == "qa" else _KNOWN[result.kind.folder]
    known = {key for key, _ in listed}
    others = [key for key in result.record["claims"] if key not in known]
    return [*listed, *((key, words(key)) for key in others)]


def _questions(result: TaskResult) -> list[tuple[str, str]]:
    families = [key for key in result.record["metrics"] if key.startswith("exact_match/")]
    rows = [("exact_match", "exact match")]
    for key in sorted(families):
        # A family of few questions has a wide interval or, all right or all wrong, a deceptive one.
        n = result.run.n_items(key)
        count = f" (n={n})" if n != result.run.n_items("exact_match") else ""
        rows.append((key, f"  {words(key.split('/', 1)[1])}{count}"))
    return rows


def _headline(result: TaskResult, key: str, label: str, claim: Claim | None) -> Headline:
    record, run = result.record, result.run
    entry, count = record["metrics"][key], key == "distinct_captions"
    score = format_value(key, entry["value"])
    name, value = strongest_baseline(record, key)
    strongest = claim.baseline_text if claim else _baseline(result, key, name, value)
    return Headline(
        task=result.title,
        metric=label,
        score=f"{score} of {record['n_scored']}" if count else score,
        interval=ABSENT if entry["ci95"] is None else format_interval(key, entry["ci95"]),
        seeds=_seeds(key, run.seeds),
        strongest=ABSENT if count else strongest,
        difference=(claim.difference_text if claim else "") or ABSENT,
        verdict=claim.verdict if claim else ABSENT,
        baselines=_scores(key, {words(n): row.get(key) for n, row in record["baselines"].items()}),
        controls=_scores(
            key,
            {
                words(control.alteration or ""): control.record["metrics"].get(key, {}).get("value")
                for control in result.controls
            },
        ),
    )


def _baseline(result: TaskResult, key: str, name: str | None, value: float | None) -> str:
    if name is None:
        return ABSENT
    return f"{words(name)}: {format_value(key, value)}{result.run.baseline_mark(name)}"


def _scores(key: str, values: Mapping[str, float | None]) -> tuple[tuple[str, str], ...]:
    return tuple((n, format_value(key, v)) for n, v in values.items() if v is not None)


def _seeds(key: str, seeds: Sequence[Mapping[str, object]]) -> str:
    found = spread(key, seeds)
    if found is None:
        return ABSENT
    mean, deviation = format_value(key, found.mean), format_value(key, found.deviation)
    return f"{mean} ± {deviation} ({found.n})"


def text_table(rows: Sequence[Headline]) -> str:
    """Aligned table for a terminal, a blank line between tasks."""
    cells = [
        (
            *(row.task, row.metric, row.score, row.interval, row.seeds, row.verdict),
            *(row.strongest, row.difference, _others(row)),
        )
        for row in rows
    ]
    widths = [max(len(line[k]) for line in [_COLUMNS, *cells]) for k in range(len(_COLUMNS) - 1)]
    lines = [_line(_COLUMNS, widths), "  ".join("-" * width for width in [*widths, 23])]
    for previous, line in zip([cells[0], *cells], cells):
        if line[0] != previous[0]:
            lines.append("")
        lines.append(_line(line, widths))
    return "\n".join([*lines, "", NOTE])


def _others(row: Headline) -> str:
    """Return every baseline, then the scores under controls."""
    text = ", ".join(f"{name} {score}" for name, score in row.baselines) or ABSENT
    controls = ", ".join(f"{name} {score}" for name, score in row.controls)
    return f"{text}; {controls}" if controls else text


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Numbers to the right, names to the left, the last column as long as it is."""
    aligned = [
        cell.rjust(width) if k in (2, 3, 4) else cell.ljust(width)
        for k, (cell, width) in enumerate(zip(cells, widths))
    ]
    return "  ".join([*aligned, cells[-1]]).rstrip()
