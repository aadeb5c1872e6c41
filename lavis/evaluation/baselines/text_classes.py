"""Classes read in texts: multinomial naive Bayes on the words of training texts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lavis.evaluation.tokenization import tokenize_caption

ALPHA = 0.05  # smoothing; tf-idf counts are below 1


def text_posterior(
    known: Sequence[str], labels: Sequence[str], texts: Sequence[str], names: Sequence[str]
) -> np.ndarray:
    """Return the class posterior of texts, float64 [T,K], columns in the order of `names`.

    Args:
        known: [m] training texts.
        labels: [m] their classes.
        texts: [T] texts to classify.
        names: K classes.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.naive_bayes import MultinomialNB

    vectorizer = TfidfVectorizer(analyzer=tokenize_caption)
    model = MultinomialNB(alpha=ALPHA).fit(vectorizer.fit_transform(known), np.asarray(labels))
    posterior = model.predict_proba(vectorizer.transform(texts))
    column = {name: k for k, name in enumerate(model.classes_)}
    return posterior[:, [column[name] for name in names]]
