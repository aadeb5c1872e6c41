"""A draft of the caption in the language model's own tokens, spelled by the queries.

A frozen language model reads what lies where its tokens lie. Given the caption's own token
embeddings as prefix, SmolLM2-135M needs 1.3 nats a token to write it, untrained; given another
caption's, 5.1. A linear prefix, trained for minutes, lies elsewhere and is ignored (docs/LOG.md).
Mixtures of token embeddings, as in AlignVLM (arXiv 2502.01341), are read only once they are sharp;
here each query names one token, and the linear prefix of BLIP-2 stays beside the draft.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class CaptionDraft(nn.Module):
    """The k-th query state names the k-th token of the caption.

    Args:
        state_width: width C of the query states.
        token_width: width D of the language model's token embeddings.
        length: places K of the draft, at most the number of queries.
    """

    def __init__(self, state_width: int, token_width: int, length: int) -> None:
        super().__init__()
        self.length = length
        self.proj = nn.Linear(state_width, token_width)
        # One projection serves all queries: without a bias of its own a place cannot say which
        # word of the text it stands for.
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
        spelled = self.proj(query_states[:, : self.length]) + self.position  # [B,K,D]
        if mask is not None:
            spelled = spelled[:, : mask.shape[1]][mask]
        return (spelled.to(table.dtype) @ table.T).float()

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
        """Write the draft: token ids Long [B,K], `end_id` behind the first end."""
        ids = self.scores(query_states, table).argmax(-1)
        ended = (ids == end_id).cummax(dim=1).values
        return ids.masked_fill(ended, end_id)
