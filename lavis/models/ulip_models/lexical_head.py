"""Clouds beside the words of their texts: the lexical part of a hybrid embedding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lavis.common.errors import ConfigError
from lavis.models.contrastive import full_precision
from lavis.models.teachers.lexical import LexicalTeacher


class LexicalHead(nn.Module):
    """A linear layer into the space of `LexicalTeacher`, trained against all training texts.

    Args:
        width: of the object's features.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.words = LexicalTeacher()
        self.proj = nn.Linear(width, self.words.embed_dim)
        self.row_of: dict[str, int] = {}
        self.training_texts: Tensor | None = None  # sparse [T,V] of the distinct ones

    def fit(self, texts: Sequence[str]) -> None:
        """Read the texts of the training split: how rare words are, and what there is to tell."""
        self.words.fit(texts)
        distinct = sorted(set(texts))
        self.row_of = {text: row for row, text in enumerate(distinct)}
        self.training_texts = self.words.encode_sparse(distinct)

    def forward(self, feature: Tensor) -> Tensor:
        """Return unit [B,V] of features [B,F]."""
        return F.normalize(full_precision(self.proj(feature)), dim=-1)

    def loss(self, points: Tensor, texts: Sequence[str], scale: Tensor, smoothing: float) -> Tensor:
        """Cross-entropy of clouds [B,V] over all training texts, of which `texts` are the B own.

        Raises:
            ConfigError: the training split was not read, or lacks a text.
        """
        unknown = [text for text in texts if text not in self.row_of]
        if unknown or self.training_texts is None:
            what = "a text is not in the training split"
            where = "model.lexical_source"
            raise ConfigError(what, where=where, got=unknown[0], expected=f"{len(self.row_of)}")
        rows = torch.tensor([self.row_of[text] for text in texts], device=points.device)
        cosines = torch.sparse.mm(self.training_texts.to(points.device), points.T).T
        return F.cross_entropy(scale * cosines, rows, label_smoothing=smoothing)
