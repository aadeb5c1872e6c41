"""Baselines that do not use the object: chance and random captions.

Chance figures of retrieval are exact expectations over a random ranking of the gallery, not
simulations.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lavis.common.errors import EvaluationError
from lavis.evaluation.retrieval import RECALL_AT


def random_captions(train_captions: Sequence[str], n: int, *, seed: int = 0) -> list[str]:
    """`n` training captions drawn at random with replacement."""
    if not train_captions:
        raise EvaluationError("no training captions to draw from")
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
            "chance needs 1 to G positives per query",
            got=positives[:5].tolist(),
            expected=f"1..{n_gallery}",
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
