"""tf-idf vectors of texts: words and word pairs up to four words, fitted on training texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lavis.evaluation.tokenization import tokenize_caption

if TYPE_CHECKING:
    from scipy import sparse


class TextIndex:
    """Unit tf-idf vectors of training texts, and of other texts in the same space.

    Args:
        texts: m training texts.
        longest: n-grams up to so many words.

    Attributes:
        vectors: sparse [m,V], unit rows.
    """

    def __init__(self, texts: Sequence[str], longest: int = 2) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        self.vectorizer = TfidfVectorizer(
            analyzer=lambda text: word_ngrams(tokenize_caption(text), longest),
            sublinear_tf=True,
        )
        self.vectors: sparse.csr_matrix = self.vectorizer.fit_transform(texts)

    def __call__(self, texts: Sequence[str]) -> sparse.csr_matrix:
        """Return unit vectors of texts, sparse [k,V]; a text without a known word is zero."""
        return self.vectorizer.transform(texts)


def word_ngrams(words: Sequence[str], longest: int) -> list[str]:
    """Return all n-grams of 1 to `longest` words."""
    return [
        " ".join(words[start : start + order])
        for order in range(1, longest + 1)
        for start in range(len(words) - order + 1)
    ]


def consensus(vectors: sparse.csr_matrix, near: np.ndarray) -> np.ndarray:
    """Choose the neighbour whose text is most similar to the other neighbours' texts: [n] int64.

    Args:
        vectors: sparse [m,V] of the training texts.
        near: [n,k] training rows, the nearest first, which also wins ties.

    References: Devlin et al., "Exploring Nearest Neighbor Approaches for Image Captioning", 2015
        (arXiv 1505.04467).
    """
    chosen = np.empty(len(near), dtype=np.int64)
    for row, rows in enumerate(near.tolist()):
        own = vectors[rows]
        similarity = np.asarray((own @ own.T).sum(axis=1)).ravel().round(9)
        chosen[row] = rows[int(similarity.argmax())]
    return chosen
