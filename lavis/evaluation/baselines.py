"""Trivial baselines: what every reported score has to beat.

Chance figures of retrieval are exact expectations over a random ranking of the gallery, not
simulations. Baselines that need training data take the training split explicitly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import TypeVar

import numpy as np

from lavis.common.errors import EvaluationError, explain
from lavis.evaluation.classification import chance_accuracy, most_frequent_accuracy
from lavis.evaluation.qa import most_frequent_answers, most_frequent_predictions
from lavis.evaluation.retrieval import RECALL_AT

__all__ = [
    "chance_accuracy",
    "chance_recall",
    "chance_retrieval",
    "most_frequent_accuracy",
    "most_frequent_answers",
    "most_frequent_class",
    "most_frequent_predictions",
    "nearest_neighbour_captions",
    "nearest_neighbour_indices",
    "random_captions",
]

Label = TypeVar("Label", bound=Hashable)


def nearest_neighbour_indices(
    train_embeds: np.ndarray, test_embeds: np.ndarray, *, block: int = 1024
) -> np.ndarray:
    """Index of the training object with the highest cosine similarity, [M] int64.

    Args:
        train_embeds: [N,E], or [N,Q,E] where each of the Q token embeddings counts the same.
        test_embeds: [M,E] or [M,Q,E].
        block: test objects per matrix product.

    Raises:
        EvaluationError: shapes disagree, or an embedding is zero or not finite.
    """
    train, test = _unit_rows(train_embeds, "training"), _unit_rows(test_embeds, "test")
    if train.shape[1] != test.shape[1]:
        raise EvaluationError(
            explain(
                "training and test embeddings cannot be compared",
                got=f"training {np.shape(train_embeds)}, test {np.shape(test_embeds)}",
            )
        )
    parts = [(test[k : k + block] @ train.T).argmax(axis=1) for k in range(0, len(test), block)]
    return np.concatenate(parts)


def _unit_rows(embeds: np.ndarray, what: str) -> np.ndarray:
    """Unit rows [N,E]; token embeddings are normalised one by one, then laid side by side."""
    embeds = np.asarray(embeds, dtype=np.float32)
    if embeds.ndim not in (2, 3) or embeds.size == 0:
        raise EvaluationError(
            explain(f"bad {what} embeddings", got=embeds.shape, expected="[N,E] or [N,Q,E]")
        )
    norm = np.linalg.norm(embeds, axis=-1, keepdims=True)
    bad = ~np.isfinite(norm) | (norm == 0)
    if bad.any():
        rows = np.flatnonzero(bad.reshape(len(embeds), -1).any(axis=1))
        raise EvaluationError(
            explain(f"{what} embeddings are zero or not finite", where=f"rows {rows[:5].tolist()}")
        )
    return (embeds / norm).reshape(len(embeds), -1)


def nearest_neighbour_captions(
    train_embeds: np.ndarray,
    train_captions: Sequence[str | Sequence[str]],
    test_embeds: np.ndarray,
) -> list[str]:
    """Caption every test object with the (first) caption of its nearest training object."""
    if len(train_captions) != len(train_embeds):
        raise EvaluationError(
            explain(
                "every training embedding needs a caption",
                got=f"{len(train_embeds)} embeddings, {len(train_captions)} captions",
            )
        )
    found = (train_captions[k] for k in nearest_neighbour_indices(train_embeds, test_embeds))
    return [caption if isinstance(caption, str) else caption[0] for caption in found]


def random_captions(train_captions: Sequence[str], n: int, *, seed: int = 0) -> list[str]:
    """`n` training captions drawn at random with replacement."""
    if not train_captions:
        raise EvaluationError(explain("no training captions to draw from"))
    drawn = np.random.default_rng(seed).integers(0, len(train_captions), size=n)
    return [train_captions[k] for k in drawn]


def chance_recall(n_positives: Sequence[int] | np.ndarray, n_gallery: int, k: int) -> float:
    """Expected recall@k of a random ranking: mean over queries of 1 - C(G-P,k) / C(G,k).

    Args:
        n_positives: [Nq] number P of right gallery items of each query, 1..G.
        n_gallery: gallery size G.
        k: cut-off.
    """
    positives = np.asarray(n_positives, dtype=np.float64)
    if len(positives) == 0 or positives.min() < 1 or positives.max() > n_gallery:
        raise EvaluationError(
            explain(
                "chance needs 1 to G positives per query",
                got=positives[:5].tolist(),
                expected=f"1..{n_gallery}",
            )
        )
    taken = np.arange(min(k, n_gallery))
    misses = np.clip((n_gallery - positives[:, None] - taken) / (n_gallery - taken), 0.0, 1.0)
    return float((1.0 - misses.prod(axis=1)).mean())


def chance_retrieval(n_positives: Sequence[int] | np.ndarray, n_gallery: int) -> dict[str, float]:
    """Expected retrieval metrics of a random ranking, under the names of `RetrievalScores`.

    The median rank is that of the mixture over queries, found by bisection on `chance_recall`.
    Average precision: Y. Bestgen, "Exact expected average precision of the random baseline", 2015.
    """
    positives = np.asarray(n_positives, dtype=np.float64)
    result = {f"recall_at_{k}": chance_recall(positives, n_gallery, k) for k in RECALL_AT}
    low, high = 1, n_gallery
    while low < high:
        middle = (low + high) // 2
        low, high = (
            (low, middle)
            if chance_recall(positives, n_gallery, middle) >= 0.5
            else (middle + 1, high)
        )
    harmonic = float((1.0 / np.arange(1, n_gallery + 1)).sum())
    spread = (positives - 1) / max(n_gallery - 1, 1) * (n_gallery - harmonic)
    result["median_rank"] = float(low)
    result["mean_rank"] = float(((n_gallery + 1) / (positives + 1)).mean())
    result["mean_average_precision"] = float(((spread + harmonic) / n_gallery).mean())
    return result


def most_frequent_class(train_labels: Sequence[Label]) -> Label:
    """The most frequent training label; of equally frequent ones the first that occurs."""
    if len(train_labels) == 0:
        raise EvaluationError(explain("no training labels to count"))
    return Counter(train_labels).most_common(1)[0][0]
