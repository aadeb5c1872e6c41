"""Open-ended question answering: normalisation, exact match, refined exact match, families.

`normalize_answer` is this project's own rule (not ScanQA's or LEO's): case, punctuation, articles
and number words do not matter, and dimensions have one form ("2x4", "2 by 4" -> "2 x 4").
Refined exact match follows LEO [arXiv 2311.12871]: right when either answer contains the other with
spaces removed. It favours short answers, so it is always reported with exact match.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lavis.common.errors import EvaluationError
from lavis.evaluation.intervals import N_RESAMPLES, mean_ci
from lavis.evaluation.records import check_same_ids, first_few

# Families with fewer scored questions are not reported alone, but together as "rare".
MIN_FAMILY = 50
RARE = "rare"
COLOR = "color"
# fmt: off
_UNITS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
    "twenty",
)
_TENS = ("thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety", "hundred")
# fmt: on
_NUMBERS = {word: str(value) for value, word in enumerate(_UNITS)}
_NUMBERS |= {word: str(10 * value) for value, word in enumerate(_TENS, start=3)}
_ARTICLES = frozenset({"a", "an", "the"})
# Points and slashes inside numbers stay: 1.5 and 1/2 are not 15 and 12.
_PUNCTUATION = re.compile(r"(?<!\d)[./]|[./](?!\d)|[^\w\s./]|_")
_TIMES = re.compile(r"(?<=\d)\s*(?:x|by)\s*(?=\d)")


@dataclass(frozen=True)
class QAScores:
    """QA metrics of one prediction file.

    Attributes:
        ids: the N scored ids.
        exact_match: [N] float64, 0 or 1.
        refined_exact_match: [N] float64, 0 or 1, never below exact_match.
        families: family of each id.
        n_empty: predictions that hold no answer; each is wrong.
    """

    ids: list[Hashable]
    exact_match: np.ndarray
    refined_exact_match: np.ndarray
    families: list[str]
    n_empty: int

    @property
    def n_scored(self) -> int:
        return len(self.ids)

    @property
    def per_family(self) -> dict[str, dict[str, float]]:
        """{family: {"n", "exact_match", "refined_exact_match"}} in alphabetical order."""
        return self.per_group(dict(zip(self.ids, self.families)))

    def per_group(self, groups: Mapping[Any, str]) -> dict[str, dict[str, float]]:
        """As `per_family`, for any grouping {question id: group}, e.g. question types."""
        check_same_ids(self.ids, groups, what="groups of questions")
        names = np.array([groups[i] for i in self.ids])
        return {
            group: {
                "n": int((names == group).sum()),
                "exact_match": float(self.exact_match[names == group].mean()),
                "refined_exact_match": float(self.refined_exact_match[names == group].mean()),
            }
            for group in sorted(set(names.tolist()))
        }

    @property
    def rare_families(self) -> list[str]:
        """Families with fewer than MIN_FAMILY questions, in alphabetical order."""
        counts = Counter(self.families)
        return sorted(family for family, count in counts.items() if count < MIN_FAMILY)

    @property
    def family_items(self) -> dict[str, dict[Hashable, float]]:
        """{"exact_match/<family>": {id: 0 or 1}}; rare families together as "rare".

        "without_color" holds every question but those about colour, where there are both: the
        bricks' colours are synthetic, and a mean of pixels answers them.
        """
        rare, mixed = set(self.rare_families), len(set(self.families)) > 1
        items: dict[str, dict[Hashable, float]] = {}
        rows = zip(self.ids, self.families, self.exact_match.tolist(), strict=True)
        for name, family, right in rows:
            group = RARE if family in rare else family
            items.setdefault(f"exact_match/{group}", {})[name] = right
            if mixed and COLOR in self.families and family != COLOR:
                items.setdefault("exact_match/without_color", {})[name] = right
        return dict(sorted(items.items()))

    @property
    def unavailable(self) -> dict[str, str]:
        """{metric: why it has no value} of the families that are not reported alone."""
        counts = Counter(self.families)
        return {
            f"exact_match/{family}": f"{counts[family]} questions, fewer than {MIN_FAMILY}: "
            f"counted in exact_match and exact_match/{RARE}"
            for family in self.rare_families
        }

    @property
    def values(self) -> dict[str, float | None]:
        """Both scores over all questions, then exact match per family ("exact_match/colour").

        Rare families have None, and are pooled in "exact_match/rare".
        """
        overall: dict[str, float | None] = {
            "exact_match": float(self.exact_match.mean()),
            "refined_exact_match": float(self.refined_exact_match.mean()),
        }
        overall |= {
            name: float(np.mean(list(items.values()))) for name, items in self.family_items.items()
        }
        return overall | dict.fromkeys(self.unavailable)

    def metrics(self, *, n_resamples: int = N_RESAMPLES, seed: int = 0) -> dict[str, Any]:
        """Scores with 95% intervals over questions, in the shape of a metrics record."""
        items = {"exact_match": self.exact_match, "refined_exact_match": self.refined_exact_match}
        items |= {name: np.array([*rows.values()]) for name, rows in self.family_items.items()}
        found: dict[str, Any] = {
            name: {
                "value": self.values[name],
                "ci95": list(mean_ci(values, n_resamples=n_resamples, seed=seed)),
            }
            for name, values in items.items()
        }
        return found | {name: {"value": None, "ci95": None} for name in self.unavailable}


def normalize_answer(text: str) -> str:
    """Return the canonical form of an answer.

    Lower-case, number words up to twenty and whole tens as digits, no punctuation, no articles, one
    space between words, and dimensions as "2 x 4". An answer that is only an article keeps it.
    """
    plain = unicodedata.normalize("NFKC", text).lower().replace("×", "x").replace("-", " ")
    # Apostrophes and thousands commas join what they separate; other punctuation divides words.
    plain = re.sub(r"(?<=\w)['’](?=\w)|(?<=\d),(?=\d{3}\b)", "", plain)
    words = [_NUMBERS.get(word, word) for word in _PUNCTUATION.sub(" ", plain).split()]
    kept = [word for word in words if word not in _ARTICLES] or words
    return _TIMES.sub(" x ", " ".join(kept))


def exact_match(prediction: str, answers: Sequence[str]) -> bool:
    """Return whether the normalised prediction equals one of the normalised answers."""
    given = normalize_answer(prediction)
    return bool(given) and any(given == normalize_answer(answer) for answer in answers)


def refined_exact_match(prediction: str, answers: Sequence[str]) -> bool:
    """Return whether prediction or answer contains the other without spaces; False if empty."""
    given = normalize_answer(prediction).replace(" ", "")
    wanted = [normalize_answer(answer).replace(" ", "") for answer in answers]
    return bool(given) and any(given in answer or answer in given for answer in wanted if answer)


def qa_scores(
    predictions: Mapping[Any, str],
    answers: Mapping[Any, str | Sequence[str]],
    families: Mapping[Any, str],
) -> QAScores:
    """Score one answer per question.

    Args:
        predictions: {question id: answer}; an empty one is wrong and counted.
        answers: {question id: right answer or answers}, the same ids.
        families: {question id: question family}, the same ids.

    Raises:
        EvaluationError: ids differ, a value is not text, or a reference answer is empty.
    """
    check_same_ids(answers, predictions, what="answers")
    check_same_ids(answers, families, what="question families")
    ids = list(answers)
    right = {i: [a] if isinstance(a, str) else list(a) for i, a in answers.items()}
    _check_text(ids, predictions, right)
    pairs = [(predictions[i], right[i]) for i in ids]
    return QAScores(
        ids=ids,
        exact_match=np.array([exact_match(p, a) for p, a in pairs], dtype=np.float64),
        refined_exact_match=np.array(
            [refined_exact_match(p, a) for p, a in pairs], dtype=np.float64
        ),
        families=[families[i] for i in ids],
        n_empty=sum(not normalize_answer(p) for p, _ in pairs),
    )


def _check_text(
    ids: Sequence[Any], predictions: Mapping[Any, str], right: Mapping[Any, Sequence[str]]
) -> None:
    odd = [i for i in ids if not all(isinstance(t, str) for t in (predictions[i], *right[i]))]
    if odd:
        raise EvaluationError(f"{len(odd)} answers are not text", where=f"ids {first_few(odd)}")
    empty = [i for i in ids if not right[i] or not all(map(normalize_answer, right[i]))]
    if empty:
        raise EvaluationError(
            f"{len(empty)} questions have no reference answer or an empty one",
            where=f"ids {first_few(empty)}",
            fix="remove these questions from the split or give them an answer",
        )


def most_frequent_answers(
    train_records: Iterable[Mapping[str, Any]],
    *,
    family_key: str = "family",
    answer_key: str = "answer",
) -> dict[str, str]:
    """The most frequent training answer of each question family, the baseline to beat.

    Args:
        train_records: training questions; must not be the evaluated split.
        family_key: field of the family.
        answer_key: field of the answer (text, or a list whose first entry counts).

    Returns:
        {family: normalised answer}; of equally frequent answers the first in the alphabet.

    Raises:
        EvaluationError: a record lacks one of the two fields.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for number, record in enumerate(train_records):
        if family_key not in record or answer_key not in record:
            raise EvaluationError(
                "a training question cannot be counted",
                where=f"record number {number}",
                got=sorted(map(str, record)),
                expected=f"{family_key!r} and {answer_key!r}",
            )
        answer = record[answer_key]
        first = answer if isinstance(answer, str) else answer[0]
        counts[record[family_key]][normalize_answer(first)] += 1
    return {
        family: min(counter, key=lambda answer: (-counter[answer], answer))
        for family, counter in counts.items()
    }
