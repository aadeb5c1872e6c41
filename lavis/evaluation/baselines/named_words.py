"""The words that a yes/no question names: "does it have a clip?" names "clip"."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from lavis.evaluation.qa import normalize_answer
from lavis.evaluation.tokenization import tokenize_caption

# Function words of questions. "teeth" and "toothed" are spellings of the one question about teeth.
# fmt: off
FUNCTION_WORDS = frozenset({
    "a", "an", "any", "are", "as", "called", "describe", "do", "does", "has", "have", "in", "is",
    "it", "made", "object", "of", "on", "one", "part", "piece", "shape", "shaped", "teeth", "that",
    "the", "there", "this", "to", "toothed", "type", "was", "what", "which", "with", "would", "you",
})
# fmt: on
YES_NO = frozenset({"yes", "no"})


def named_words(question: str) -> tuple[str, ...]:
    """Return the words of a question that are no function words."""
    return tuple(w for w in tokenize_caption(question) if w not in FUNCTION_WORDS)


def is_yes_no(train: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the question types whose training answers are all yes or no."""
    answers: dict[str, set[str]] = defaultdict(set)
    for entry in train:
        answer = entry["answer"]
        first = answer if isinstance(answer, str) else answer[0]
        answers[str(entry["question_type"])].add(normalize_answer(str(first)))
    return {kind for kind, found in answers.items() if found <= YES_NO}
