"""Features between points: three-nearest interpolation of PointNet++'s feature propagation."""

from __future__ import annotations

import torch
from torch import Tensor

from lavis.common.errors import ShapeError
from lavis.models.point_ops.gather import gather_points
from lavis.models.point_ops.ops import knn

_EPSILON = 1e-8  # of the published code: keeps the weight of a coinciding point finite


def three_nearest(
    query: Tensor,
    xyz: Tensor,
    backend: str = "auto",
    *,
    power: int = 2,
    lengths: Tensor | None = None,
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Find the three nearest points of every query and their interpolation weights.

    Weights are 1 / (distance^power + 1e-8), divided by their sum; clouds of one or two points
    give as many neighbours. No gradient flows into coordinates.

    Args:
        query: coordinates [B,S,3] where features are wanted.
        xyz: coordinates [B,N,3] where they are known.
        backend, lengths, mask: as in `knn`.
        power: 2 as in the paper and the pure-torch repositories, 1 as in pointnet2_ops.

    Returns:
        index Long [B,S,3] and weight float32 [B,S,3], nearest first.

    Raises:
        ShapeError: as `knn`, or another power.

    References:
        PointNet++, arXiv:1706.02413, equation 2.
    """
    if power not in (1, 2):
        raise ShapeError("power cannot be used.", got=power, expected="1 or 2")
    smallest = xyz.shape[1] if xyz.dim() == 3 else 3
    for counts in (lengths, None if mask is None else mask.sum(dim=-1)):
        if counts is not None and counts.numel() > 0:
            smallest = min(smallest, int(counts.min()))
    index = knn(query, xyz, min(3, max(1, smallest)), backend, lengths=lengths, mask=mask)
    with torch.no_grad():
        offset = gather_points(xyz.float(), index) - query.float()[:, :, None]  # [B,S,3,3]
        distance = offset.square().sum(dim=-1)  # [B,S,3]
        weight = 1.0 / ((distance if power == 2 else distance.sqrt()) + _EPSILON)
        return index, weight / weight.sum(dim=-1, keepdim=True)


def three_interpolate(features: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """Mix the features of every query's neighbours.

    Args:
        features: [B,N,C] at the known points; gradients flow into them.
        index: Long [B,S,K] from `three_nearest`.
        weight: [B,S,K] from `three_nearest`.

    Returns:
        [B,S,C] in the dtype of `features`.

    Raises:
        ShapeError: shapes that do not fit each other.
    """
    if index.shape != weight.shape or index.dim() != 3:
        raise ShapeError(
            "index and weight do not fit each other.",
            got=f"index {list(index.shape)}, weight {list(weight.shape)}",
            expected="[B,S,K] both",
        )
    known = gather_points(features, index)  # [B,S,K,C]
    return (known * weight[..., None].to(known.dtype)).sum(dim=2)
