"""The head of VoteNet (arXiv 1904.09664): seeds vote for centres, votes become boxes.

Seeds are points of the decoder. Differs from the release: sizes are regressed as logarithms, not as
residuals of class means, and turns as twice the angle (a box has no front in its overlap), so that
nothing depends on the set of classes; classes are compared with texts.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lavis.models.point_encoders.folding import group_max
from lavis.models.point_ops import ball_query, farthest_point_sample, gather_points

TYPICAL_SIZE = 0.6  # metres, of boxes before training


class Proposals(NamedTuple):
    """What the head returns.

    Attributes:
        seeds: Long [B,S], points that vote.
        votes: [B,S,3], where they expect the centres of their objects, metres.
        near: [B,P,3], votes around which the other ones were pooled; without gradient.
        objectness: logits [B,P].
        boxes: [B,P,6|7] (boxes.py).
        turn: cosine and sine of twice the turn [B,P,2], as regressed; None: aligned boxes.
        features: [B,P,E], compared with texts.
    """

    seeds: Tensor
    votes: Tensor
    near: Tensor
    objectness: Tensor
    boxes: Tensor
    turn: Tensor | None
    features: Tensor

    def scene(self, row: int) -> Proposals:
        """Return the proposals of one scene, without the first axis."""
        parts: list[Any] = [None if part is None else part[row] for part in self]
        return Proposals(*parts)


def _layers(*widths: int) -> nn.Sequential:
    """Return linear layers, normalised and activated between."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths[:-1]):
        layers += [nn.Linear(before, after), nn.LayerNorm(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1]))


class VoteHead(nn.Module):
    """Points' features -> proposals.

    Args:
        point_dim: D.
        embed_dim: E of the texts.
        width: of the hidden layers.
        seeds, proposals: S and P; fewer in smaller clouds.
        radius: in which votes are pooled, metres.
        neighbors: votes that are pooled.
        turned: regress turns.
    """

    def __init__(
        self,
        point_dim: int,
        embed_dim: int,
        width: int,
        seeds: int,
        proposals: int,
        radius: float,
        neighbors: int,
        turned: bool,
    ) -> None:
        super().__init__()
        self.num_seeds, self.num_proposals, self.turned = seeds, proposals, turned
        self.radius, self.neighbors = radius, neighbors
        self.embed = _layers(point_dim, width, width)
        self.vote = _layers(width, width, 3 + width)
        self.pool = _layers(width + 3, width, width)
        self.box = _layers(width, width, 1 + 3 + 3 + 2 * turned)
        self.classify = _layers(width, width, embed_dim)
        moving = self.vote[-1]
        assert isinstance(moving, nn.Linear)
        nn.init.zeros_(moving.weight[:3])  # a vote starts at its seed
        nn.init.zeros_(moving.bias[:3])

    def forward(self, xyz: Tensor, features: Tensor, lengths: Tensor | None = None) -> Proposals:
        """Propose boxes for clouds xyz float32 [B,N,3] with features [B,N,D]."""
        fewest = xyz.shape[1] if lengths is None else int(lengths.min())
        seeds = farthest_point_sample(xyz, min(self.num_seeds, fewest), lengths=lengths)
        seed_xyz = gather_points(xyz, seeds)
        embeds = self.embed(gather_points(features, seeds))  # [B,S,W]
        moved = self.vote(embeds)
        votes = seed_xyz + moved[..., :3].float()
        near, pooled = self._pool(votes, embeds + moved[..., 3:])
        values = self.box(pooled).float()  # [B,P,7|9]
        boxes, turn = self._boxes(near, values[..., 1:])
        features = self.classify(pooled)
        return Proposals(seeds, votes, near, values[..., 0], boxes, turn, features)

    def _pool(self, votes: Tensor, embeds: Tensor) -> tuple[Tensor, Tensor]:
        """Pool votes [B,S,3] around some of them: [B,P,3] and [B,P,W].

        Places are without gradient: the loss of the boxes, which is larger, would move the votes
        away from the centres (measured: loss_vote 0.55 instead of 0.12 after 60 steps).
        """
        places = votes.detach()
        count = min(self.num_proposals, votes.shape[1])
        near = gather_points(places, farthest_point_sample(places, count))
        index = ball_query(near, places, self.radius, self.neighbors)  # [B,P,M]
        offset = (gather_points(places, index) - near[:, :, None]) / self.radius
        group = torch.cat([gather_points(embeds, index), offset.to(embeds.dtype)], dim=-1)
        return near, group_max(self.pool(group))

    def _boxes(self, near: Tensor, values: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return boxes [B,P,6|7] of regressed values [B,P,6|8], and the turns as regressed."""
        centre = near + values[..., :3]
        size = TYPICAL_SIZE * values[..., 3:6].clamp(-4.0, 4.0).exp()  # 1 cm to 33 m
        if not self.turned:
            return torch.cat([centre, size], dim=-1), None
        turn = values[..., 6:]
        angle = torch.atan2(turn[..., 1], turn[..., 0]) / 2
        return torch.cat([centre, size, angle[..., None]], dim=-1), turn
