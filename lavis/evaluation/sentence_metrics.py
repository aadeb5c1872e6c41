"""Sentence-level BLEU and ROUGE as PointLLM reports them: NLTK's BLEU, the rouge package's F.

Both packages are re-implemented from their behaviour, quirks included, and nothing is installed:

- BLEU: NLTK `sentence_bleu` with smoothing method 1 (0.1 for an absent n-gram order), words split
  at white space with their punctuation and case; BLEU-3 weighs 0.33 three times.
- ROUGE-1/2/L: `rouge` 1.0.1, F with 1e-8 in the denominator. N-grams and words are counted once
  each; ROUGE-L cuts both texts at every period and joins the words of all common subsequences.

They are averaged over captions, so they do not compare with the corpus scores of captioning.py.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

EPSILON = 0.1
BLEU_WEIGHTS = {
    "bleu_1": (1.0, 0.0, 0.0, 0.0),
    "bleu_2": (0.5, 0.5, 0.0, 0.0),
    "bleu_3": (0.33, 0.33, 0.33, 0.0),
    "bleu_4": (0.25, 0.25, 0.25, 0.25),
}


def sentence_bleu(reference: str, hypothesis: str) -> dict[str, float]:
    """BLEU-1..4 of one caption, 0..1; without a common word 0."""
    wanted, given = reference.split(), hypothesis.split()
    matches = []
    for order in range(1, 5):
        own, other = Counter(_ngrams(given, order)), Counter(_ngrams(wanted, order))
        matches.append((sum((own & other).values()), max(1, sum(own.values()))))
    if matches[0][0] == 0:
        return dict.fromkeys(BLEU_WEIGHTS, 0.0)
    logs = [math.log((found or EPSILON) / total) for found, total in matches]
    brevity = min(1.0, math.exp(1 - len(wanted) / len(given)))
    return {
        name: brevity * math.exp(sum(w * value for w, value in zip(weights, logs)))
        for name, weights in BLEU_WEIGHTS.items()
    }


def sentence_rouge(reference: str, hypothesis: str) -> dict[str, float]:
    """ROUGE-1, ROUGE-2 and ROUGE-L F of one caption, 0..1; 0 when a text holds no word."""
    wanted, given = _sentences(reference), _sentences(hypothesis)
    words, own = [w for s in wanted for w in s], [w for s in given for w in s]
    if not words or not own:
        return {"rouge_1": 0.0, "rouge_2": 0.0, "rouge_l": 0.0}
    scores = {}
    for order in (1, 2):
        a, b = set(_ngrams(own, order)), set(_ngrams(words, order))
        scores[f"rouge_{order}"] = _f_score(len(a & b), len(a), len(b))
    common = {word for w in wanted for g in given for word in common_subsequence(w, g)}
    scores["rouge_l"] = _f_score(len(common), len(set(own)), len(set(words)))
    return scores


def _sentences(text: str) -> list[list[str]]:
    # White space between two periods is a sentence of one empty word to the package.
    return [part.split() or [""] for part in text.split(".") if part]


def _ngrams(words: Sequence[str], order: int) -> list[tuple[str, ...]]:
    return [tuple(words[k : k + order]) for k in range(len(words) - order + 1)]


def _f_score(common: int, n_given: int, n_wanted: int) -> float:
    precision = common / n_given if n_given else 0.0
    recall = common / n_wanted if n_wanted else 0.0
    return 2.0 * (precision * recall) / (precision + recall + 1e-8)


def common_subsequence(first: Sequence[str], second: Sequence[str]) -> list[str]:
    """A longest common subsequence; of several the one that drops from `first` last."""
    table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, a in enumerate(first, 1):
        for j, b in enumerate(second, 1):
            longer = max(table[i - 1][j], table[i][j - 1])
            table[i][j] = table[i - 1][j - 1] + 1 if a == b else longer
    words, i, j = [], len(first), len(second)
    while i and j:
        if first[i - 1] == second[j - 1]:
            words.append(first[i - 1])
            i, j = i - 1, j - 1
        elif table[i - 1][j] > table[i][j - 1]:
            i -= 1
        else:
            j -= 1
    return words[::-1]
