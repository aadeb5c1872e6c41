"""The layers of PointNet++ (arXiv:1706.02413) with the parameter names of its PyTorch releases.

Names: `mlp_convs.j` / `mlp_bns.j` (one scale, all points, propagation), `conv_blocks.i.j` /
`bn_blocks.i.j` (several scales). BatchNorm is folded in eval.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lavis.models.point_encoders.folding import pooled_mlp, shared_mlp
from lavis.models.point_ops import (
    ball_query,
    farthest_point_sample,
    gather_points,
    three_interpolate,
    three_nearest,
)


def _convolutions(channels: int, widths: Sequence[int], dims: int = 2) -> tuple[nn.ModuleList, ...]:
    """Return 1x1 convolutions and their BatchNorms."""
    conv, norm = (nn.Conv2d, nn.BatchNorm2d) if dims == 2 else (nn.Conv1d, nn.BatchNorm1d)
    ins = [channels, *widths[:-1]]
    return (
        nn.ModuleList(conv(i, o, 1) for i, o in zip(ins, widths)),
        nn.ModuleList(norm(o) for o in widths),
    )


class SetAbstraction(nn.Module):
    """Farthest-point centres, a ball around each, a shared MLP, the maximum.

    Args:
        num_center: G.
        radius: of the balls.
        num_sample: S, points per ball.
        channels: width of the features given with the points (0: none).
        widths: of the MLP; the last is the output's.
    """

    def __init__(
        self, num_center: int, radius: float, num_sample: int, channels: int, widths: Sequence[int]
    ) -> None:
        super().__init__()
        self.num_center, self.radius, self.num_sample = num_center, radius, num_sample
        self.mlp_convs, self.mlp_bns = _convolutions(3 + channels, widths)

    def forward(
        self,
        xyz: Tensor,
        features: Tensor | None,
        start: int | Tensor = 0,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Abstract xyz [B,N,3], features [B,N,D] -> centers [B,G,3], features [B,G,out].

        With `lengths` Long [B] only the first lengths[b] points of a cloud count.
        """
        picked = farthest_point_sample(xyz, self.num_center, start, lengths=lengths)
        center = gather_points(xyz, picked)  # [B,G,3]
        index = ball_query(center, xyz, self.radius, self.num_sample, lengths=lengths)  # [B,G,S]
        group = gather_points(xyz, index) - center[:, :, None]  # [B,G,S,3]
        group = group.to(next(self.mlp_convs.parameters()).dtype)
        if features is not None:
            group = torch.cat([group, gather_points(features, index).to(group.dtype)], dim=-1)
        return center, pooled_mlp(group, self.mlp_convs, self.mlp_bns)


class MultiScaleAbstraction(nn.Module):
    """Balls of several radii around the same centres, side by side.

    Args:
        num_center: G.
        radii, num_samples, widths: one entry per scale.
        channels: width of the features given with the points (0: none).
    """

    def __init__(
        self,
        num_center: int,
        radii: Sequence[float],
        num_samples: Sequence[int],
        channels: int,
        widths: Sequence[Sequence[int]],
    ) -> None:
        super().__init__()
        self.num_center, self.radii, self.num_samples = num_center, radii, num_samples
        blocks = [_convolutions(3 + channels, scale) for scale in widths]
        self.conv_blocks = nn.ModuleList(convs for convs, _ in blocks)
        self.bn_blocks = nn.ModuleList(norms for _, norms in blocks)

    def forward(
        self,
        xyz: Tensor,
        features: Tensor | None,
        start: int | Tensor = 0,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Abstract xyz [B,N,3], features [B,N,D] -> centers [B,G,3], features [B,G,sum of outs].

        `lengths` as in `SetAbstraction`.
        """
        picked = farthest_point_sample(xyz, self.num_center, start, lengths=lengths)
        center = gather_points(xyz, picked)  # [B,G,3]
        scales = []
        blocks: Iterable[tuple[Any, Any]] = zip(self.conv_blocks, self.bn_blocks)
        for radius, num_sample, (convs, norms) in zip(self.radii, self.num_samples, blocks):
            index = ball_query(center, xyz, radius, num_sample, lengths=lengths)  # [B,G,S]
            group = gather_points(xyz, index) - center[:, :, None]  # [B,G,S,3]
            group = group.to(convs[0].weight.dtype)
            if features is not None:  # features first here, unlike the single scale: as published
                group = torch.cat([gather_points(features, index).to(group.dtype), group], dim=-1)
            scales.append(pooled_mlp(group, convs, norms))
        return center, torch.cat(scales, dim=-1)


class GlobalAbstraction(nn.Module):
    """All points as one group: a shared MLP over [xyz, features], the maximum."""

    def __init__(self, channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.mlp_convs, self.mlp_bns = _convolutions(3 + channels, widths)

    def forward(self, xyz: Tensor, features: Tensor) -> Tensor:
        """Abstract xyz [B,N,3], features [B,N,D] -> [B,out]."""
        points = torch.cat([xyz.to(features.dtype), features], dim=-1)
        return pooled_mlp(points, self.mlp_convs, self.mlp_bns)


class FeaturePropagation(nn.Module):
    """Carry features from centres back to the finer points, and mix them with theirs."""

    def __init__(self, channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.mlp_convs, self.mlp_bns = _convolutions(channels, widths, dims=1)

    def forward(
        self,
        fine: Tensor,
        coarse: Tensor,
        skip: Tensor | None,
        features: Tensor,
        valid: Tensor | None = None,
    ) -> Tensor:
        """Propagate features [B,G,D] at coarse [B,G,3] to fine [B,N,3] with skip [B,N,E].

        With `valid` bool [B,N] only those M fine points are computed, so that padding stays out of
        the BatchNorm statistics: [M,out] instead of [B,N,out].
        """
        carried = three_interpolate(features, *three_nearest(fine, coarse))  # [B,N,D]
        mixed = carried if skip is None else torch.cat([skip, carried], dim=-1)
        mixed = mixed if valid is None else mixed[valid]
        return shared_mlp(mixed, self.mlp_convs, self.mlp_bns)
