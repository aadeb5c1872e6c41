"""Answers scored as ScanQA and LEO do, and multiple choice by likelihood.

    published_scores(predictions, answers, styles=["scanqa", "leo"])

ScanQA [arXiv 2112.10482]: exact match of the first and of any of ten ranked answers, then BLEU,
ROUGE-L, CIDEr (METEOR, SPICE with Java) of the first answer against all reference answers.
LEO [arXiv 2311.12871]: exact match and refined exact match by the rule of its released script
(`leo_match`); the same by any reference in any order is `leo/exact_match_any` and
`leo/refined_exact_match_any`, which LEO does not publish. All compare normalised texts, each in its
own style (answer_styles.py), so metric names contain the style.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lavis.common.errors import EvaluationError
from lavis.evaluation.answer_styles import answer_style
from lavis.evaluation.captioning import caption_scores
from lavis.evaluation.intervals import mean_metric
from lavis.evaluation.records import check_same_ids, first_few

RANKED = 10
Ranked = Mapping[Any, str | Sequence[str]]
_CAPTION_METRICS = ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider", "meteor", "spice")


@dataclass(frozen=True)
class PublishedScores:
    """Scores of the published protocols.

    Attributes:
        metrics: {"scanqa/em_at_1": {"value", "ci95"}, …}.
        per_item: {metric: [N]} of metrics that are means over questions.
        unavailable: why a value is None.
    """

    metrics: dict[str, dict[str, Any]]
    per_item: dict[str, np.ndarray]
    unavailable: dict[str, str]


def published_scores(
    predictions: Ranked,
    answers: Mapping[Any, str | Sequence[str]],
    styles: Sequence[str],
    *,
    java_metrics: bool = False,
    seed: int = 0,
) -> PublishedScores:
    """Score answers by published protocols.

    Args:
        predictions: {question id: answer, or up to ten answers, best first}.
        answers: {question id: right answer or answers}.
        styles: of `answer_styles.STYLES`.
        java_metrics: also METEOR and SPICE of ScanQA.
        seed: of the intervals.

    Raises:
        EvaluationError: ids differ, or a question without an answer to compare with.
        ConfigError: unknown style.
    """
    check_same_ids(answers, predictions, what="answers")
    ids = list(answers)
    result = PublishedScores({}, {}, {})
    for style in styles:
        normalize = answer_style(style)
        ranked = [[normalize(text) for text in _listed(predictions[i])][:RANKED] for i in ids]
        right = [[normalize(text) for text in _listed(answers[i])] for i in ids]
        _check_answers(ids, right, style)
        score = _scanqa if style == "scanqa" else _leo
        for name, items in score(ranked, right).items():
            _add(result, f"{style}/{name}", items, seed)
        if style == "scanqa":
            _add_caption_metrics(result, ids, ranked, right, java_metrics, seed)
    return result


def _add(result: PublishedScores, name: str, items: Sequence[float], seed: int) -> None:
    values = np.asarray(items, dtype=np.float64)
    result.per_item[name] = values
    result.metrics[name] = mean_metric(values, seed=seed)


def _scanqa(ranked: list[list[str]], right: list[list[str]]) -> dict[str, list[float]]:
    scores = {"em_at_1": [float(r[:1] != [] and r[0] in a) for r, a in zip(ranked, right)]}
    if any(len(r) > 1 for r in ranked):
        scores["em_at_10"] = [float(any(p in a for p in r)) for r, a in zip(ranked, right)]
    return scores


def _leo(ranked: list[list[str]], right: list[list[str]]) -> dict[str, list[float]]:
    pairs = [(r[0] if r else "", a) for r, a in zip(ranked, right)]
    official = [leo_match(p, a) for p, a in pairs]
    return {
        "exact_match": [float(exact) for exact, _ in official],
        "refined_exact_match": [float(refined) for _, refined in official],
        "exact_match_any": [float(bool(p) and p in a) for p, a in pairs],
        "refined_exact_match_any": [float(_contains(p, a)) for p, a in pairs],
    }


def leo_match(prediction: str, answers: Sequence[str]) -> tuple[bool, bool]:
    """Match a prediction with reference answers as LEO's released evaluation does.

    The references are tried in their order. The first that is equal, or contains the prediction or
    is contained in it without white space, decides: an equal reference behind a contained one is
    not found. An empty text is contained in every text.

    Args:
        prediction: normalised by the style `leo`.
        answers: references, normalised likewise.

    Returns:
        Exact match, refined exact match.

    References:
        `answer_match` in evaluator/scanqa_eval.py of github.com/embodied-generalist.
    """
    given = "".join(prediction.split())
    for answer in answers:
        if prediction == answer:
            return True, True
        wanted = "".join(answer.split())
        if given in wanted or wanted in given:
            return False, True
    return False, False


def _contains(prediction: str, answers: Sequence[str]) -> bool:
    given = "".join(prediction.split())
    wanted = ["".join(answer.split()) for answer in answers]
    return bool(given) and any(given in answer or answer in given for answer in wanted if answer)


def _add_caption_metrics(
    result: PublishedScores,
    ids: list[Any],
    ranked: list[list[str]],
    right: list[list[str]],
    java_metrics: bool,
    seed: int,
) -> None:
    first = {i: r[0] if r else "" for i, r in zip(ids, ranked)}
    scores = caption_scores(first, dict(zip(ids, right)), java_metrics=java_metrics)
    entries = scores.metrics(seed=seed)
    result.metrics.update({f"scanqa/{name}": entries[name] for name in _CAPTION_METRICS})
    for name in (name for name in ("rouge_l", "cider") if name in scores.per_item):
        result.per_item[f"scanqa/{name}"] = scores.per_item[name]
    result.unavailable.update({f"scanqa/{k}": reason for k, reason in scores.unavailable.items()})


def _listed(value: str | Sequence[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _check_answers(ids: list[Any], right: list[list[str]], style: str) -> None:
    # LEO scores an empty reference, too: it is contained in every prediction.
    accepts_empty = style == "leo"
    empty = [i for i, a in zip(ids, right) if not a or not (accepts_empty or all(a))]
    if empty:
        raise EvaluationError(
            f"{len(empty)} reference answers are empty in the style {style!r}",
            where=f"ids {first_few(empty)}",
            fix="remove these questions from the split",
        )


def multiple_choice_metrics(
    log_likelihoods: Mapping[Any, Sequence[float]],
    n_tokens: Mapping[Any, Sequence[int]],
    right: Mapping[Any, int],
    *,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Accuracy of the likeliest choice, by sum and by mean over its tokens.

    Args:
        log_likelihoods: {question id: log-likelihood of each choice, summed over its tokens}.
        n_tokens: {question id: tokens of each choice}.
        right: {question id: index of the right choice}.

    Returns:
        `choice_accuracy` (mean over tokens, so that long choices are not at a loss) and
        `choice_accuracy_sum`, each {"value", "ci95"}. Of equally likely choices the last counts, so
        a model that finds all choices equal is not right by their order.

    Raises:
        EvaluationError: ids differ, NaN, or an index outside the choices.
    """
    check_same_ids(right, log_likelihoods, what="choices")
    check_same_ids(right, n_tokens, what="lengths of choices")
    correct: dict[str, list[float]] = {"choice_accuracy": [], "choice_accuracy_sum": []}
    for question, index in right.items():
        sums = np.asarray(log_likelihoods[question], dtype=np.float64)
        counts = np.asarray(n_tokens[question])
        if not np.isfinite(sums).all() or sums.shape != counts.shape or not 0 <= index < len(sums):
            raise EvaluationError(
                "the likelihoods of a question's choices cannot be compared",
                where=f"question {question!r}",
                got=f"{sums.tolist()}, lengths {counts.tolist()}, right choice {index}",
            )
        for name, scores in (("choice_accuracy", sums / counts), ("choice_accuracy_sum", sums)):
            better = np.count_nonzero(scores >= scores[index]) - 1
            correct[name].append(float(better == 0))
    return {name: mean_metric(items, seed=seed) for name, items in correct.items()}
