"""Sentence embeddings for caption similarity; which models: `lavis/models/teachers/sentence.py`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class SentenceEncoder:
    """Turn texts into unit vectors.

    Args:
        name: `minilm`, a folder or a hub name, with "@pooling" behind it where it cannot be read.
        batch_size: texts per forward pass.

    Attributes:
        label: short name for metrics: the last part of the path, with the pooling when given.

    Raises:
        ConfigError: unknown pooling.
        CheckpointError: the model cannot be loaded.
    """

    def __init__(self, name: str, batch_size: int = 64) -> None:
        # Metrics of words alone do not load torch.
        from lavis.models.teachers import SentenceTeacher

        self.teacher = SentenceTeacher(name, cache_size=0, key="sentence encoder")
        self.label = name.rstrip("/").rsplit("/", 1)[-1]
        self.batch_size = batch_size

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts: unit float32 [N,E]. Equal texts are embedded once."""
        distinct = sorted(set(texts), key=len)
        parts = [
            self.teacher(distinct[begin : begin + self.batch_size]).float().numpy()
            for begin in range(0, len(distinct), self.batch_size)
        ]
        rows = dict(zip(distinct, np.concatenate(parts))) if parts else {}
        return np.stack([rows[text] for text in texts]) if rows else np.zeros((0, 1), np.float32)


def pair_similarity(
    encode: SentenceEncoder, first: Sequence[str], second: Sequence[str]
) -> np.ndarray:
    """Cosine of aligned texts, [N] float64 in -1..1."""
    embeds = encode([*first, *second]).astype(np.float64)
    return (embeds[: len(first)] * embeds[len(first) :]).sum(axis=1)
