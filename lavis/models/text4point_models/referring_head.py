"""A sentence and a scene -> the points that the sentence means.

Some points of the scene and one query per sentence attend to each other, with a bias by their
distance in metres, and to the sentence's words. The query then selects points.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lavis.models.point_ops import (
    farthest_point_sample,
    gather_points,
    three_interpolate,
    three_nearest,
)

_FARTHEST, _RINGS = 6.0, 16  # metres, and steps of distance until there


class DistanceBias(nn.Module):
    """What distances add to the logits of attention, per head.

    Args:
        heads: H.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.register_buffer("rings", torch.linspace(0, _FARTHEST, _RINGS), persistent=False)
        self.to_heads = nn.Linear(_RINGS + 3, heads)
        nn.init.zeros_(self.to_heads.weight)
        nn.init.zeros_(self.to_heads.bias)

    def forward(self, xyz: Tensor) -> Tensor:
        """Return the biases between a query, first, and points [B,S,3]: [B*H,1+S,1+S]."""
        away = xyz[:, :, None] - xyz[:, None]  # [B,S,S,3]
        distance = away.square().sum(-1).add(1e-12).sqrt()
        width = _FARTHEST / (_RINGS - 1)
        near = torch.exp(-(((distance[..., None] - self.rings) / width) ** 2))  # type: ignore[operator]
        up = away[..., 1:2].clamp(-2.0, 2.0)  # above and below differ, left and right do not
        values = torch.cat([near, up, up.abs(), distance[..., None] / _FARTHEST], dim=-1)
        bias = self.to_heads(values).permute(0, 3, 1, 2)  # [B,H,S,S]
        return nn.functional.pad(bias, (1, 0, 1, 0)).flatten(0, 1)


class ReferringHead(nn.Module):
    """Points' features and words -> logits of the points.

    Args:
        point_dim: D.
        text_dim: W of the words' states.
        width: of the head.
        depth: layers.
        heads: of attention.
        tokens: points S that attend; fewer in smaller clouds.
        dropout: in the layers.
    """

    def __init__(
        self,
        point_dim: int,
        text_dim: int,
        width: int,
        depth: int,
        heads: int,
        tokens: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.num_tokens = tokens
        self.read_points = nn.Linear(point_dim, width)
        self.read_place = nn.Linear(3, width)
        self.read_words = nn.Sequential(nn.Linear(text_dim, width), nn.LayerNorm(width))
        self.distance_bias = DistanceBias(heads)
        self.layers = nn.ModuleList(
            nn.TransformerDecoderLayer(
                width, heads, 2 * width, dropout, batch_first=True, norm_first=True
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.from_point = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width))
        self.from_token = nn.Linear(width, width)
        self.to_query = nn.Linear(width, width)
        self.bias = nn.Parameter(torch.tensor(-2.0))  # few points are meant

    def forward(
        self,
        xyz: Tensor,
        features: Tensor,
        words: Tensor,
        word_mask: Tensor,
        lengths: Tensor | None = None,
        scene_of: Tensor | None = None,
    ) -> Tensor:
        """Return logits [B,N] of the points of each sentence's scene.

        What does not depend on the sentence is computed once for each of the S scenes.

        Args:
            xyz: float32 [S,N,3], metres.
            features: [S,N,D].
            words: states of the sentences' words [B,T,W].
            word_mask: bool [B,T], real words.
            lengths: Long [S], or None without padding.
            scene_of: Long [B], the scene of each sentence; None: S is B, one sentence each.
        """
        rows = torch.arange(len(words), device=xyz.device) if scene_of is None else scene_of
        fewest = xyz.shape[1] if lengths is None else int(lengths.min())
        chosen = farthest_point_sample(xyz, min(self.num_tokens, fewest), lengths=lengths)
        places = gather_points(xyz, chosen)  # [S,T',3]
        embeds = self.read_points(features)  # [S,N,width]
        height = places - places.mean(1, keepdim=True)
        tokens = gather_points(embeds, chosen) + self.read_place(height.to(embeds.dtype))
        states = self._attend(tokens[rows], places[rows], words, word_mask)
        near, weights = (values[rows] for values in three_nearest(xyz, places))
        spread = three_interpolate(self.from_token(states[:, 1:]).float(), near, weights)
        points = F.relu(self.from_point(embeds)[rows] + spread.to(embeds.dtype))  # [B,N,width]
        query = self.to_query(states[:, 0])  # [B,width]
        logits = torch.einsum("bnd,bd->bn", points, query)
        return logits / points.shape[-1] ** 0.5 + self.bias

    def _attend(self, tokens: Tensor, places: Tensor, words: Tensor, word_mask: Tensor) -> Tensor:
        """Return the states of the query and the tokens [B,1+S,width]."""
        read = self.read_words(words)
        real = word_mask[..., None]
        query = (read * real).sum(1, keepdim=True) / real.sum(1, keepdim=True).clamp(min=1)
        states = torch.cat([query, tokens], dim=1)
        bias = self.distance_bias(places).to(states.dtype)
        for layer in self.layers:
            states = layer(states, read, tgt_mask=bias, memory_key_padding_mask=~word_mask)
        return self.norm(states)
