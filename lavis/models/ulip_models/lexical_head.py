"""Clouds beside the words of their texts: the lexical part of a hybrid embedding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lavis.models.contrastive import full_precision
from lavis.models.teachers.lexical import LexicalTeacher
from lavis.models.ulip_models.vocabulary import Vocabulary

KEY = "model.lexical_source"


class LexicalHead(nn.Module):
    """A linear layer into the space of `LexicalTeacher`, trained against all training texts.

    Args:
        width: F of the object's features.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.words = LexicalTeacher()
        self.proj = nn.Linear(width, self.words.embed_dim)
        self.vocabulary = Vocabulary(KEY)
        # Sparse [T,V] of the vocabulary. No buffer: process groups do not broadcast sparse ones.
        self.vocabulary_embeds: Tensor | None = None

    def fit(self, texts: Sequence[str]) -> None:
        """Read the texts of the training split: the rarity of words, and the vocabulary."""
        self.words.fit(texts)
        self.vocabulary = Vocabulary(KEY, texts)
        self.vocabulary_embeds = self.words.encode_sparse(self.vocabulary.texts)

    def forward(self, feature: Tensor) -> Tensor:
        """Return unit [B,V] of features [B,F]."""
        return F.normalize(full_precision(self.proj(feature)), dim=-1)

    def loss(self, points: Tensor, texts: Sequence[str], scale: Tensor, smoothing: float) -> Tensor:
        """Cross-entropy of clouds [B,V] over all training texts; `texts` are the B own ones.

        Raises:
            ConfigError: the training split was not read, or lacks a text.
        """
        rows = self.vocabulary.rows(texts).to(points.device)
        assert self.vocabulary_embeds is not None  # `rows` refused texts before `fit`
        if self.vocabulary_embeds.device != points.device:
            self.vocabulary_embeds = self.vocabulary_embeds.to(points.device)
        cosines = torch.sparse.mm(self.vocabulary_embeds, points.T).T
        return F.cross_entropy(scale * cosines, rows, label_smoothing=smoothing)
