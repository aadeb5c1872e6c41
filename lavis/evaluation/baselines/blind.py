"""A text-only ("blind") answerer: it answers from the question without the object.

Each question is answered like the most similar training question: the one whose words and word
pairs, weighted by rarity, point most nearly the same way (cosine of tf-idf). Equal questions are
one question, and its most frequent training answer counts. A model that does not beat this answerer
has not shown that it uses the object.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from lavis.common.errors import EvaluationError
from lavis.evaluation.qa import normalize_answer
from lavis.evaluation.tokenization import tokenize_caption

Vector = dict[str, float]


class BlindAnswerer:
    """Answers learnt from training questions.

    Args:
        train_records: records with `question` and `answer` (text, or a list whose first counts).

    Raises:
        EvaluationError: no records, or one without the two fields.
    """

    def __init__(self, train_records: Iterable[Mapping[str, Any]]) -> None:
        answers: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
        for number, record in enumerate(train_records):
            if "question" not in record or "answer" not in record:
                raise EvaluationError(
                    "a training question cannot be read",
                    where=f"record number {number}",
                    got=sorted(map(str, record)),
                    expected="'question' and 'answer'",
                )
            answer = record["answer"]
            first = answer if isinstance(answer, str) else answer[0]
            answers[tuple(tokenize_caption(record["question"]))][normalize_answer(first)] += 1
        if not answers:
            raise EvaluationError("no training questions for the blind answerer")
        self.answer_of = {
            words: min(counts, key=lambda answer: (-counts[answer], answer))
            for words, counts in answers.items()
        }
        features = {words: Counter(_features(words)) for words in self.answer_of}
        occurs = Counter(feature for counts in features.values() for feature in counts)
        self.idf = {f: math.log((1 + len(features)) / (1 + n)) + 1 for f, n in occurs.items()}
        # Inverted index: only questions that share a word with the asked one are compared.
        self.index: dict[str, list[tuple[tuple[str, ...], float]]] = defaultdict(list)
        for words, counts in features.items():
            for feature, weight in self._unit(counts).items():
                self.index[feature].append((words, weight))

    def __call__(self, question: str) -> str:
        """Answer a question; one that shares no word with any training question gets ""."""
        words = tuple(tokenize_caption(question))
        if words in self.answer_of:
            return self.answer_of[words]
        similarity: dict[tuple[str, ...], float] = defaultdict(float)
        for feature, weight in self._unit(Counter(_features(words))).items():
            for known, other in self.index.get(feature, ()):
                similarity[known] += weight * other
        if not similarity:
            return ""
        best = min(similarity, key=lambda known: (-round(similarity[known], 12), known))
        return self.answer_of[best]

    def _unit(self, counts: Mapping[str, int]) -> Vector:
        weights = {f: n * self.idf[f] for f, n in counts.items() if f in self.idf}
        norm = math.sqrt(sum(w * w for w in weights.values())) or 1.0
        return {feature: weight / norm for feature, weight in weights.items()}


def _features(words: tuple[str, ...]) -> list[str]:
    return [*words, *(f"{a} {b}" for a, b in pairwise(words))]
