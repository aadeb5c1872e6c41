"""Few-shot classification and the linear probe: class information in a frozen embedding.

Both train scikit-learn's logistic regression on embeddings of training objects and score the test
objects; the encoder is not touched. Few-shot draws k objects of every class several times.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lavis.common.errors import EvaluationError
from lavis.evaluation.intervals import mean_metric

N_DRAWS = 5


def linear_probe_predictions(
    train_embeds: np.ndarray,
    train_labels: Sequence[int] | np.ndarray,
    test_embeds: np.ndarray,
    *,
    regularization: float = 1.0,
    max_iter: int = 300,
) -> np.ndarray:
    """Train a linear classifier on unit embeddings and classify: labels int64 [M].

    Args:
        train_embeds: [N,E] or [N,Q,E]; tokens are averaged.
        train_labels: [N].
        test_embeds: [M,E] or [M,Q,E].
        regularization: C of scikit-learn, larger is weaker.
        max_iter: steps of the solver.

    Raises:
        EvaluationError: shapes disagree, NaN, or only one class.
    """
    from sklearn.linear_model import LogisticRegression

    labels = np.asarray(train_labels)
    train, test = pooled(train_embeds), pooled(test_embeds)
    if len(train) != len(labels) or train.shape[1] != test.shape[1] or len(np.unique(labels)) < 2:
        raise EvaluationError(
            "a linear probe cannot be trained",
            got=f"training {train.shape}, test {test.shape}, {len(labels)} labels of "
            f"{len(np.unique(labels))} classes",
            expected="as many labels as training embeddings, two classes or more, equal widths",
        )
    # Unit vectors in many dimensions have small entries: the solver needs unit variance.
    mean, scale = train.mean(axis=0), train.std(axis=0) + 1e-8
    model = LogisticRegression(C=regularization, max_iter=max_iter)
    model.fit((train - mean) / scale, labels)
    return model.predict((test - mean) / scale).astype(np.int64)


def pooled(embeds: np.ndarray) -> np.ndarray:
    """Mean over tokens, then unit length: [N,Q,E] | [N,E] -> [N,E]."""
    embeds = np.asarray(embeds, dtype=np.float64)
    embeds = embeds.mean(axis=1) if embeds.ndim == 3 else embeds
    norm = np.linalg.norm(embeds, axis=-1, keepdims=True)
    if not np.isfinite(norm).all() or not len(embeds):
        raise EvaluationError("embeddings for a probe are empty or hold NaN")
    return embeds / np.maximum(norm, 1e-12)


def draw_shots(labels: Sequence[int] | np.ndarray, shots: int, seed: int) -> np.ndarray:
    """Indices of at most `shots` objects of every class, sorted."""
    generator = np.random.default_rng([seed, shots])
    order = generator.permutation(len(labels))
    drawn = np.asarray(labels)[order]
    chosen = [order[np.flatnonzero(drawn == label)[:shots]] for label in np.unique(drawn)]
    return np.sort(np.concatenate(chosen))


def probe_metrics(
    train_embeds: np.ndarray,
    train_labels: Sequence[int] | np.ndarray,
    test_embeds: np.ndarray,
    test_labels: Sequence[int] | np.ndarray,
    *,
    shots: Sequence[int] = (),
    linear: bool = True,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """`linear_probe/top_1` and `few_shot_<k>/top_1`, each {"value", "ci95"} over test objects.

    The few-shot score is the mean over `N_DRAWS` draws of the training objects; its interval counts
    the test objects, not the draws.
    """
    labels, right = np.asarray(train_labels), np.asarray(test_labels)
    results = {}
    if linear:
        found = linear_probe_predictions(train_embeds, labels, test_embeds)
        results["linear_probe/top_1"] = (found == right).astype(np.float64)
    for k in shots:
        draws = []
        for draw in range(N_DRAWS):
            rows = draw_shots(labels, int(k), seed + draw)
            found = linear_probe_predictions(train_embeds[rows], labels[rows], test_embeds)
            draws.append(found == right)
        results[f"few_shot_{k}/top_1"] = np.mean(draws, axis=0)
    return {name: mean_metric(items, seed=seed) for name, items in results.items()}
