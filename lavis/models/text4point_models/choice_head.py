"""A sentence and the instances of a scene -> which instance the sentence means.

Instances and one query per sentence attend to each other, with a bias by how their boxes lie, and
to the sentence's words. The query then scores the instances.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_FARTHEST, _RINGS = 6.0, 16  # metres, and steps of distance until there
_LOW = -1e4  # a logit of what is not there; finite, so that a scene without instances has no NaN


class Candidates(NamedTuple):
    """The instances of S scenes, at most M each.

    Attributes:
        boxes: float32 [S,M,6], centre and size in metres, from the middle of the floor.
        looks: [S,M,L], colours, number of points, mean features.
        names: [S,M,E], mean text of the labels by their probability.
        real: bool [S,M]; the rest is padding.
    """

    boxes: Tensor
    looks: Tensor
    names: Tensor
    real: Tensor


class BoxRelations(nn.Module):
    """What two boxes add to the logits of attention, per head.

    Args:
        heads: H.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.register_buffer("rings", torch.linspace(0, _FARTHEST, _RINGS), persistent=False)
        self.to_heads = nn.Sequential(nn.Linear(_RINGS + 8, 32), nn.ReLU(), nn.Linear(32, heads))

    def forward(self, candidates: Candidates) -> Tensor:
        """Return the biases of candidates [S,M] for each other: [S,H,M,M]."""
        centre, size = candidates.boxes.split(3, -1)
        away = centre[:, :, None] - centre[:, None]  # [S,M,M,3]
        between = away.abs() - (size[:, :, None] + size[:, None]) / 2
        gap = _norm(between.clamp(min=0))
        near = torch.exp(-(((gap[..., None] - self.rings) * _RINGS / _FARTHEST) ** 2))  # type: ignore[operator]
        volume = size.clamp(min=0.02).log().sum(-1)
        larger = (volume[:, :, None] - volume[:, None]).clamp(-3, 3)
        taller = (size[:, :, None, 1] - size[:, None, :, 1]).clamp(-2, 2)
        top, bottom = (centre + size / 2)[..., 1], (centre - size / 2)[..., 1]
        under = (top[:, None] - bottom[:, :, None]).clamp(-2, 2)  # what the one stands on
        names = F.normalize(candidates.names, dim=-1)
        alike = names @ names.transpose(1, 2)
        above = away[..., 1].clamp(-2, 2)
        signs = [(larger > 0).float(), (taller > 0).float()]
        values = [_norm(away) / _FARTHEST, above, larger, taller, under, alike, *signs]
        return self.to_heads(torch.cat([near, torch.stack(values, -1)], -1)).permute(0, 3, 1, 2)


class ChoiceHead(nn.Module):
    """Instances and words -> logits of the instances.

    Args:
        look_dim: L of the candidates' looks.
        name_dim: E of their names.
        text_dim: W of the words' states.
        width: of the head.
        depth: layers.
        heads: of attention.
        dropout: in the layers.
    """

    def __init__(
        self,
        look_dim: int,
        name_dim: int,
        text_dim: int,
        width: int,
        depth: int,
        heads: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.read_box = nn.Linear(6, width)
        self.read_look = nn.Sequential(nn.LayerNorm(look_dim), nn.Linear(look_dim, width))
        self.read_name = nn.Linear(name_dim, width)
        self.read_words = nn.Sequential(nn.Linear(text_dim, width), nn.LayerNorm(width))
        self.join = nn.LayerNorm(width)
        self.relations = BoxRelations(heads)
        self.layers = nn.ModuleList(
            nn.TransformerDecoderLayer(
                width, heads, 2 * width, dropout, batch_first=True, norm_first=True
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.to_query = nn.Linear(width, width)
        self.to_key = nn.Linear(width, width)

    def forward(
        self, candidates: Candidates, words: Tensor, word_mask: Tensor, scene_of: Tensor
    ) -> Tensor:
        """Return logits [B,M] of the candidates of each sentence's scene.

        Args:
            candidates: of S scenes.
            words: states of the sentences' words [B,T,W].
            word_mask: bool [B,T], real words.
            scene_of: Long [B], the scene of each sentence.
        """
        tokens = self.read_box(candidates.boxes) + self.read_look(candidates.looks)
        tokens = self.join(tokens + self.read_name(candidates.names))
        bias = F.pad(self.relations(candidates), (1, 0, 1, 0))  # the query comes first
        missing = F.pad(~candidates.real, (1, 0))[:, None, None]
        bias = bias.masked_fill(missing, _LOW)[scene_of].flatten(0, 1)
        read, real = self.read_words(words), word_mask[..., None]
        query = (read * real).sum(1, keepdim=True) / real.sum(1, keepdim=True).clamp(min=1)
        states = torch.cat([query, tokens[scene_of]], dim=1)
        for layer in self.layers:
            states = layer(
                states, read, tgt_mask=bias.to(states), memory_key_padding_mask=~word_mask
            )
        states = self.norm(states)
        products = torch.einsum(
            "bmd,bd->bm", self.to_key(states[:, 1:]), self.to_query(states[:, 0])
        )
        logits = products.float() / states.shape[-1] ** 0.5
        return logits.masked_fill(~candidates.real[scene_of], _LOW)


def _norm(values: Tensor) -> Tensor:
    """Return the length along the last axis; its gradient is finite at zero."""
    return values.square().sum(-1).add(1e-9).sqrt()
