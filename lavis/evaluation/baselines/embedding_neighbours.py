"""Captions copied from the training object that is nearest in a model's own embedding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lavis.common.errors import EvaluationError


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
            "training and test embeddings cannot be compared",
            got=f"training {np.shape(train_embeds)}, test {np.shape(test_embeds)}",
        )
    parts = [(test[k : k + block] @ train.T).argmax(axis=1) for k in range(0, len(test), block)]
    return np.concatenate(parts)


def _unit_rows(embeds: np.ndarray, what: str) -> np.ndarray:
    """Unit rows [N,E]; token embeddings are normalised one by one, then laid side by side."""
    embeds = np.asarray(embeds, dtype=np.float32)
    if embeds.ndim not in (2, 3) or embeds.size == 0:
        raise EvaluationError(
            f"bad {what} embeddings", got=embeds.shape, expected="[N,E] or [N,Q,E]"
        )
    norm = np.linalg.norm(embeds, axis=-1, keepdims=True)
    bad = ~np.isfinite(norm) | (norm == 0)
    if bad.any():
        rows = np.flatnonzero(bad.reshape(len(embeds), -1).any(axis=1))
        raise EvaluationError(
            f"{what} embeddings are zero or not finite", where=f"rows {rows[:5].tolist()}"
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
            "every training embedding needs a caption",
            got=f"{len(train_embeds)} embeddings, {len(train_captions)} captions",
        )
    found = (train_captions[k] for k in nearest_neighbour_indices(train_embeds, test_embeds))
    return [caption if isinstance(caption, str) else caption[0] for caption in found]
