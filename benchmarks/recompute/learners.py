"""What baselines fit: scikit-learn forests, tf-idf and naive Bayes written out."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier

from benchmarks.recompute.runs import Data
from benchmarks.recompute.words import caption_words

TREES = 200
COLUMNS = 0.3  # share of the columns tried at each split
KINDS: dict[str, Any] = {"extra": ExtraTreesClassifier, "random": RandomForestClassifier}
SMOOTHING = 0.05


def forest_votes(
    data: Data, kind: str, known: np.ndarray, labels: Sequence[str], asked: np.ndarray
) -> tuple[list[str], np.ndarray]:
    """Fit a forest (seed 0) and return its classes (K) and the votes on asked rows [n,K].

    Votes are kept, forests are not: one of 40 classes needs more than half a gigabyte.
    """
    content = known.tobytes() + asked.tobytes() + "\0".join(labels).encode()
    key = ("votes", kind, hashlib.sha256(content).hexdigest())
    if key not in data.kept:
        forest = KINDS[kind](n_estimators=TREES, max_features=COLUMNS, random_state=0, n_jobs=1)
        forest.fit(known, np.array(labels))
        names = [str(name) for name in forest.classes_]
        data.kept[key] = names, forest.predict_proba(asked)
    return data.kept[key]


def grams(text: str, longest: int) -> list[str]:
    """Return all runs of 1 to `longest` words of a text."""
    words = caption_words(text)
    return [
        " ".join(words[begin:end])
        for begin in range(len(words))
        for end in range(begin + 1, min(begin + longest, len(words)) + 1)
    ]


class TfIdf:
    """Unit tf-idf vectors: log(1 + n) - log(1 + df) + 1, counts damped or not.

    Args:
        texts: what the vocabulary and the document frequencies come from.
        longest: words of the longest run.
        damped: count by 1 + log(count).
    """

    def __init__(self, texts: Sequence[str], longest: int, damped: bool) -> None:
        self.longest, self.damped = longest, damped
        documents = [grams(text, longest) for text in texts]
        frequency = Counter(gram for document in documents for gram in set(document))
        self.column = {gram: k for k, gram in enumerate(frequency)}
        n = len(texts)
        self.idf = [math.log((1 + n) / (1 + df)) + 1 for df in frequency.values()]

    def __call__(self, texts: Sequence[str]) -> sparse.csr_matrix:
        """Return unit vectors [k,V]; a text without a known word is zero."""
        rows = [self.vector(text) for text in texts]
        lengths = [len(row) for row in rows]
        values = [value for row in rows for value in row.values()]
        columns = [column for row in rows for column in row]
        shape = (len(rows), len(self.column))
        return sparse.csr_matrix((values, columns, np.cumsum([0, *lengths])), shape=shape)

    def vector(self, text: str) -> dict[int, float]:
        """Return {column: weight} of one text, of length 1."""
        counts = Counter(g for g in grams(text, self.longest) if g in self.column)
        weights = {
            self.column[g]: (1 + math.log(n) if self.damped else n) * self.idf[self.column[g]]
            for g, n in counts.items()
        }
        norm = math.sqrt(math.fsum(w * w for w in weights.values()))
        return {column: weight / norm for column, weight in weights.items()}


def bayes_posterior(
    known: Sequence[str], labels: Sequence[str], asked: Sequence[str], names: Sequence[str]
) -> np.ndarray:
    """Return P(class | text) [T,K] of multinomial naive Bayes on tf-idf words.

    Args:
        known: training texts.
        labels: their classes.
        asked: texts to classify.
        names: the classes, K columns.
    """
    index = TfIdf(known, longest=1, damped=False)
    vectors, own = index(known), index(asked)
    scores = np.empty((len(asked), len(names)))
    for k, name in enumerate(names):
        members = np.array([label == name for label in labels])
        counts = np.asarray(vectors[members].sum(axis=0)).ravel() + SMOOTHING  # [V]
        likelihood = np.log(counts) - math.log(counts.sum())
        scores[:, k] = own @ likelihood + math.log(members.sum() / len(labels))
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)
