"""Scores of answers from the prediction file and the annotation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.recompute.captions import interval_figures, item_figures
from benchmarks.recompute.ledger import Figures
from benchmarks.recompute.resampling import intervals
from benchmarks.recompute.runs import Data, Run
from benchmarks.recompute.words import canonical_answer

MIN_FAMILY = 50  # questions; smaller families are pooled as "rare"
RARE, COLOR, OTHERS = "rare", "color", "without_color"
Entry = Mapping[str, Any]
Right = dict[str, list[str]]


def asked(run: Run, data: Data) -> dict[str, Entry]:
    """Return the annotation of each predicted question."""
    known = {str(e["question_id"]): e for e in data.of(run)}
    return {i: known[i] for i in (str(p["question_id"]) for p in run.predictions)}


def right_answers(questions: Mapping[str, Entry]) -> Right:
    """Return the canonical right answers of each question."""
    return {
        i: [canonical_answer(answer) for answer in entry.get("answers") or [entry["answer"]]]
        for i, entry in questions.items()
    }


def item_scores(answers: Mapping[str, str], right: Right) -> dict[str, dict[str, float]]:
    """Return exact and refined exact match of each question, 0 or 1."""
    given = {i: canonical_answer(answers[i]) for i in right}
    return {
        "exact_match": {i: float(given[i] != "" and given[i] in right[i]) for i in right},
        "refined_exact_match": {i: float(_contains(given[i], right[i])) for i in right},
    }


def _contains(given: str, right: list[str]) -> bool:
    short = given.replace(" ", "")
    wanted = [answer.replace(" ", "") for answer in right]
    return bool(short) and any(a and (short in a or a in short) for a in wanted)


def with_families(
    items: dict[str, dict[str, float]], questions: Mapping[str, Entry]
) -> dict[str, dict[str, float]]:
    """Add exact match per family; few questions together as "rare"; all but those on colour."""
    sizes = Counter(str(entry["family"]) for entry in questions.values())
    has_color = COLOR in sizes and len(sizes) > 1
    found = dict(items)
    for i, entry in questions.items():
        family = str(entry["family"])
        group = family if sizes[family] >= MIN_FAMILY else RARE
        groups = [group, OTHERS] if has_color and family != COLOR else [group]
        for name in groups:
            found.setdefault(f"exact_match/{name}", {})[i] = items["exact_match"][i]
    return found


def mean(values: Mapping[str, float]) -> float:
    """Return the mean of some per-item values."""
    return sum(values.values()) / len(values)


def grouped(
    items: Mapping[str, Mapping[str, float]],
    questions: Mapping[str, Entry],
    group: Callable[[Entry], str],
) -> dict[str, dict[str, float]]:
    """Return {group: {"n", "exact_match", "refined_exact_match"}}."""
    members: dict[str, list[str]] = {}
    for i, entry in questions.items():
        members.setdefault(group(entry), []).append(i)
    return {
        name: {
            "n": len(ids),
            **{metric: sum(values[i] for i in ids) / len(ids) for metric, values in items.items()},
        }
        for name, ids in members.items()
    }


def from_predictions(run: Run, data: Data) -> Figures:
    """Recompute the scores of a question answering run from what it wrote."""
    questions = asked(run, data)
    answers = {str(p["question_id"]): p["prediction"] for p in run.predictions}
    items = item_scores(answers, right_answers(questions))
    tables = {
        "per_family": grouped(items, questions, lambda entry: str(entry["family"])),
        "per_question_type": grouped(items, questions, lambda entry: str(entry["question_type"])),
    }
    every = with_families(items, questions)
    found: Figures = {("metrics", name, "value"): mean(values) for name, values in every.items()}
    found |= interval_figures(intervals({name: [*v.values()] for name, v in every.items()}))
    found |= item_figures(("items",), every)
    for name, rows in tables.items():
        found |= item_figures(("extra", name), rows)
    return found | {("n_scored",): len(questions)}


def baseline_figures(
    name: str, answers: Mapping[str, str], questions: Mapping[str, Entry]
) -> Figures:
    """Score the answers of a baseline."""
    items = with_families(item_scores(answers, right_answers(questions)), questions)
    values = {("baselines", name, metric): mean(rows) for metric, rows in items.items()}
    return values | item_figures(("baseline_items", name), items)
