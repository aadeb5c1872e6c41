"""Auxiliary token prediction: the k-th query predicts the k-th token of the target.

A frozen language model uses a prefix only if it resembles token embeddings. With the caption's own
token embeddings as prefix, SmolLM2-135M needs 1.3 nats per token without training, with another
caption's 5.1; a linear prefix that was trained for minutes has no effect (docs/LOG.md). Mixtures of
token embeddings, as in AlignVLM (arXiv 2502.01341), work only once they are nearly one-hot. Here
each query predicts one token, and the linear prefix of BLIP-2 is used beside the predicted tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class CaptionDraft(nn.Module):
    """Predicts the k-th token of the caption (or answer) from the k-th query state.

    Args:
        state_width: width C of the query states.
        token_width: width D of the language model's token embeddings.
        length: places K of the draft, at most the number of queries.
    """

    def __init__(self, state_width: int, token_width: int, length: int) -> None:
        super().__init__()
        self.length = length
        self.proj = nn.Linear(state_width, token_width)
        # All queries share one projection; the position embedding selects the predicted token.
        self.position = nn.Parameter(torch.zeros(length, token_width))

    def scores(self, query_states: Tensor, table: Tensor, mask: Tensor | None = None) -> Tensor:
        """Score the vocabulary at each place.

        Args:
            query_states: [B,Q,C], Q at least `length`.
            table: token embeddings [V,D].
            mask: Bool [B,T], T at most K: the places to score; None is all.

        Returns:
            Logits float32 [M,V] of the M chosen places, or [B,K,V].
        """
        predicted = self.proj(query_states[:, : self.length]) + self.position  # [B,K,D]
        if mask is not None:
            predicted = predicted[:, : mask.shape[1]][mask]
        return (predicted.to(table.dtype) @ table.T).float()

    def loss(self, query_states: Tensor, ids: Tensor, mask: Tensor, table: Tensor) -> Tensor:
        """Cross-entropy of the k-th token at the k-th place.

        Args:
            query_states: [B,Q,C].
            ids, mask: the captions' tokens [B,T]; tokens behind the K-th are left out.
            table: token embeddings [V,D].
        """
        mask = mask[:, : self.length].bool()
        return F.cross_entropy(self.scores(query_states, table, mask), ids[:, : self.length][mask])

    @torch.no_grad()
    def forward(self, query_states: Tensor, table: Tensor, end_id: int) -> Tensor:
        """Predict the tokens: ids Long [B,K], `end_id` behind the first end."""
        ids = self.scores(query_states, table).argmax(-1)
        ended = (ids == end_id).cummax(dim=1).values
        return ids.masked_fill(ended, end_id)
