"""Text Querying Module: tokens of points query the texts of a label set (arXiv 2301.07584)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lavis.models.position_encoding import encode_cells


class TextQuery(nn.Module):
    """LayerNorm, cross-attention with tokens as queries, LayerNorm, MLP.

    Ours: the sinusoidal encoding of a token's cell is added to its query.

    Args:
        width: E.
        heads: of the attention.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, tokens: Tensor, cells: Tensor, text: Tensor) -> Tensor:
        """Return what tokens read from texts [T,E].

        Args:
            tokens: [T,E].
            cells: Long [T,3].
            text: [K,E].
        """
        query = self.norm1(tokens) + encode_cells(cells, tokens.shape[-1]).to(tokens.dtype)
        keys = text.to(tokens.dtype)[None]  # [1,K,E]
        found = self.attention(query[None], keys, keys, need_weights=False)[0][0]  # [T,E]
        return self.mlp(self.norm2(found))

    def per_cloud(self, tokens: Tensor, cells: Tensor, cloud: Tensor, text: Tensor) -> Tensor:
        """Return the same where each cloud has its own texts [B,K,E]; cloud is Long [T], sorted."""
        counts = torch.bincount(cloud, minlength=len(text)).tolist()
        parts = zip(tokens.split(counts), cells.split(counts), text)
        return torch.cat([self(*part) for part in parts if len(part[0])])
