"""How scores are printed in tables: scale, decimals, signs, Markdown."""

from __future__ import annotations

from collections.abc import Sequence

ABSENT = "–"

# Shown times 100, as papers do; CIDEr too although its maximum is 1000 then.
_PERCENT = (
    *("recall", "top", "bleu", "rouge", "cider", "exact", "refined", "class", "mean_average"),
    *("meteor", "spice", "em_at", "choice", "generative_", "named", "similarity"),
    "nearest_text",
    *("caption_score", "open_accuracy", "close_accuracy", "readable"),
    *("miou", "macc", "accuracy", "iou", "harmonic_iou", "ap_", "map_", "scene_"),
)
_COUNT = ("distinct_captions", "vocabulary", "median_rank")
SCALE_NOTE = (
    "Accuracies, recalls, BLEU, ROUGE-L, IoU, AP, mAP and CIDEr are shown times 100; other "
    f"metrics as they are. {ABSENT} means that there is no such value. Lower is better for ranks "
    "and distances."
)


def format_value(metric: str, value: float | None) -> str:
    """Return a score as text: fractions and CIDEr times 100, counts whole, else two decimals."""
    if value is None:
        return ABSENT
    # "text_to_object/recall_at_5" is a recall; "exact_match/color" is an exact match.
    parts = metric.split("/")
    if metric == "ap" or any(part.startswith(_PERCENT) for part in parts):
        return f"{100 * value:.1f}"
    counted = any(part.startswith(_COUNT) for part in parts)
    return f"{value:.0f}" if counted else f"{value:.2f}"


def format_difference(metric: str, value: float) -> str:
    """Return a difference on the metric's scale with its sign; zero has none."""
    text = format_value(metric, value)
    if not any(digit in text for digit in "123456789"):
        return text.lstrip("-")
    return text if text.startswith("-") else f"+{text}"


def format_interval(metric: str, bounds: Sequence[float]) -> str:
    """Return "[low, high]" on the metric's scale."""
    return f"[{', '.join(format_value(metric, bound) for bound in bounds)}]"


def words(name: str) -> str:
    """Return a key of the record as words: "nearest_box" is "nearest box"."""
    return name.replace("_", " ")


def markdown_table(
    header: Sequence[str], numbers: Sequence[str], rows: Sequence[Sequence[str]]
) -> str:
    """Lay out a Markdown table.

    Args:
        header: names of the columns.
        numbers: those of them that are aligned to the right.
        rows: cells as text, as many as columns.
    """
    rule = ["---:" if column in numbers else "---" for column in header]
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, rule, *rows])
