"""Recall of a ranking with ties, broken at random: exact expectations, no simulation.

A similarity of colours alone ties most of the gallery. Pessimistic ranks would score it 0
and optimistic ones 1; the expectation is what a user of such a ranking gets.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lavis.evaluation.baselines.chance import chance_recall
from lavis.evaluation.retrieval import RECALL_AT


def expected_recalls(
    similarity: np.ndarray, positives: Sequence[Sequence[int]]
) -> dict[str, np.ndarray]:
    """Return the expected recall of each query: {"recall_at_<k>": float64 [Nq]}.

    Args:
        similarity: [Nq,Ng], larger is better.
        positives: for each query the gallery indices that are right, at least one.
    """
    recalls = {f"recall_at_{k}": np.zeros(len(similarity)) for k in RECALL_AT}
    for row, (scores, right) in enumerate(zip(similarity, positives, strict=True)):
        own = np.unique(np.asarray(right, dtype=np.int64))
        best = scores[own].max()
        # Only wrong items with a higher score rank before; right ones cannot score higher.
        before = int((scores > best).sum())
        tied = int((scores == best).sum())
        tied_right = int((scores[own] == best).sum())
        for k in RECALL_AT:
            if k > before:
                recalls[f"recall_at_{k}"][row] = chance_recall([tied_right], tied, k - before)
    return recalls


def recall_scores(
    matrices: dict[str, np.ndarray],
    positives: Sequence[Sequence[int]],
    ids: Sequence[str],
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, dict[str, float]]]]:
    """Score similarity matrices [N,N] both ways.

    Args:
        matrices: {baseline: [N,N]}, objects by texts, item i is object i and text i.
        positives: for each item the items with the same text.
        ids: [N] item ids.

    Returns:
        {baseline: {"<direction>/recall_at_<k>": value}}, and the same per item.
    """
    values: dict[str, dict[str, float]] = {}
    items: dict[str, dict[str, dict[str, float]]] = {}
    for name, matrix in matrices.items():
        both = {"object_to_text": matrix, "text_to_object": matrix.T}
        found = {
            f"{direction}/{metric}": recall
            for direction, scores in both.items()
            for metric, recall in expected_recalls(scores, positives).items()
        }
        values[name] = {metric: float(recall.mean()) for metric, recall in found.items()}
        items[name] = {
            metric: dict(zip(map(str, ids), recall.tolist(), strict=True))
            for metric, recall in found.items()
        }
    return values, items
