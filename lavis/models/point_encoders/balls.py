"""Groups by radius, as PointNet++ takes them: balls around centres, and interpolation back."""

from __future__ import annotations

import torch
from torch import Tensor

from lavis.models.point_ops import gather_points, knn

# Elements of one distance block: 2^22 float32 distances and their indices are about 50 MB.
_BLOCK_ELEMENTS = 1 << 22


def ball_query(query: Tensor, xyz: Tensor, radius: float, k: int) -> Tensor:
    """Find the first points, by index, within a radius of every centre.

    The padding rule of the public repositories: a ball with fewer points repeats its first, one
    with more drops the later ones, so the order of a cloud matters where balls overflow.

    Args:
        query: [B,G,3], each a point of `xyz` (so that no ball is empty).
        xyz: [B,N,3].
        radius: of the open ball.
        k: points per ball.

    Returns:
        Long [B,G,k].
    """
    batch_size, num_points, _ = xyz.shape
    rows = max(1, _BLOCK_ELEMENTS // (batch_size * num_points))
    index = torch.arange(num_points, device=xyz.device)  # [N]
    blocks = []
    for block in query.split(rows, dim=1):
        offset = xyz[:, None] - block[:, :, None]  # [B,g,N,3]
        outside = offset.square().sum(-1) >= radius**2  # [B,g,N]
        inside_first = index.expand_as(outside).masked_fill(outside, num_points)
        count = min(k, num_points)
        blocks.append(inside_first.topk(count, dim=-1, largest=False, sorted=True).values)
    found = torch.cat(blocks, dim=1)  # [B,G,<=k]
    first = found[..., :1].clamp(max=num_points - 1)
    found = torch.where(found == num_points, first, found)
    padding = first.expand(-1, -1, k - found.shape[-1])
    return torch.cat([found, padding], dim=-1)


def interpolate(query: Tensor, xyz: Tensor, features: Tensor) -> Tensor:
    """Carry features to other points: inverse squared distance over the three nearest.

    Args:
        query: [B,N,3], where features are wanted.
        xyz: [B,G,3], where they are.
        features: [B,G,D].

    Returns:
        [B,N,D].

    References:
        PointNet++, arXiv:1706.02413, section 3.4.
    """
    index = knn(query, xyz, min(3, xyz.shape[1]))  # [B,N,3]
    offset = gather_points(xyz, index) - query[:, :, None]  # [B,N,3,3]
    closeness = 1.0 / (offset.square().sum(-1) + 1e-8)  # [B,N,3]
    weight = closeness / closeness.sum(-1, keepdim=True)
    return (gather_points(features, index) * weight[..., None].to(features.dtype)).sum(2)
