"""Sentence embeddings for caption similarity: MiniLM built in, SBERT and SimCSE by path.

    encode = SentenceEncoder("minilm")
    encode = SentenceEncoder("/models/all-mpnet-base-v2")                  # SBERT
    encode = SentenceEncoder("/models/sup-simcse-roberta-large@pooler")    # SimCSE

How token states become one vector is read from a sentence-transformers folder
(1_Pooling/config.json) or given behind "@": `mean`, `cls`, or `pooler` (the model's own pooling
layer, as PointLLM's script uses SimCSE). Without either it is the mean.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lavis.common.errors import ConfigError, explain, nearest

POOLINGS = ("mean", "cls", "pooler")
MAX_TOKENS = 256


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
        from transformers import AutoModel, AutoTokenizer

        from lavis.models.builtin_weights import reading_pretrained, resolve_pretrained

        path, _, pooling = name.partition("@")
        folder = resolve_pretrained(path)
        self.pooling = pooling or _configured_pooling(Path(folder))
        if self.pooling not in POOLINGS:
            raise ConfigError(
                explain(
                    f"unknown pooling of a sentence encoder.{nearest(self.pooling, POOLINGS)}",
                    where=name,
                    got=self.pooling,
                    expected=list(POOLINGS),
                )
            )
        with reading_pretrained("sentence encoder", name):
            self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
            self.model: Any = AutoModel.from_pretrained(folder).eval()
        self.label = path.rstrip("/").rsplit("/", 1)[-1] + (f"@{pooling}" if pooling else "")
        self.batch_size = batch_size

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts: unit float32 [N,E]. Equal texts are embedded once."""
        distinct = sorted(set(texts), key=len)
        parts = [
            self._embed(distinct[begin : begin + self.batch_size])
            for begin in range(0, len(distinct), self.batch_size)
        ]
        rows = dict(zip(distinct, np.concatenate(parts))) if parts else {}
        return np.stack([rows[text] for text in texts]) if rows else np.zeros((0, 1), np.float32)

    def _embed(self, texts: list[str]) -> np.ndarray:
        import torch

        with torch.no_grad():
            tokens = self.tokenizer(
                texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
            )
            output = self.model(**tokens)
            if self.pooling == "pooler":
                embeds = output.pooler_output
            elif self.pooling == "cls":
                embeds = output.last_hidden_state[:, 0]
            else:
                mask = tokens.attention_mask[..., None]
                embeds = (output.last_hidden_state * mask).sum(1) / mask.sum(1)
            return torch.nn.functional.normalize(embeds.float(), dim=-1).numpy()


def _configured_pooling(folder: Path) -> str:
    """Pooling of a sentence-transformers folder; the mean elsewhere."""
    path = folder / "1_Pooling" / "config.json"
    if not path.is_file():
        return "mean"
    config = json.loads(path.read_text(encoding="utf-8"))
    return "cls" if config.get("pooling_mode_cls_token") else "mean"


def pair_similarity(
    encode: SentenceEncoder, first: Sequence[str], second: Sequence[str]
) -> np.ndarray:
    """Cosine of aligned texts, [N] float64 in -1..1."""
    embeds = encode([*first, *second]).astype(np.float64)
    return (embeds[: len(first)] * embeds[len(first) :]).sum(axis=1)
