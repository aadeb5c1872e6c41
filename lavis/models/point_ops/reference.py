"""Plain torch point operators: the reference of every other back end, on any device.

Each squared distance is ((dx*dx + dy*dy) + dz*dz) with separate float32 operations. The order is a
contract: the compiled back ends round at the same places, so ties fall the same way everywhere.
Inputs are checked float32 tensors (see `ops.py`); `lengths` Long [B] are the valid points of each
cloud.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Elements of one distance block; 2^22 float32 distances and their int64 keys are about 50 MB.
_BLOCK_ELEMENTS = 1 << 22

_LAST = torch.iinfo(torch.long).max  # a key above every point's


def _squared_distance(query: Tensor, xyz: Tensor) -> Tensor:
    """Return [B,S,N] squared distances of query [B,S,3] and xyz [B,N,3], rounded as the contract.

    addcmul and sums over the last axis are avoided: they may fuse or reorder the roundings.
    """
    total: Tensor | None = None
    for axis in range(3):
        difference = xyz[:, None, :, axis] - query[:, :, None, axis]  # [B,S,N]
        square = difference * difference
        total = square if total is None else total + square
    assert total is not None
    return total


def _query_blocks(query: Tensor, xyz: Tensor) -> tuple[Tensor, ...]:
    """Split query [B,S,3] so that a block's distances to xyz [B,N,3] stay small."""
    return query.split(max(1, _BLOCK_ELEMENTS // (xyz.shape[0] * xyz.shape[1])), dim=1)


def farthest_point_sample(xyz: Tensor, num_samples: int, start: Tensor, lengths: Tensor) -> Tensor:
    """Sample [B,S] of float32 xyz [B,N,3] from the first picks `start` [B]."""
    batch_size, num_points, _ = xyz.shape
    picked = torch.empty(batch_size, num_samples, dtype=torch.long, device=xyz.device)
    nearest = torch.full((batch_size, num_points), torch.inf, device=xyz.device)
    padding = torch.arange(num_points, device=xyz.device) >= lengths[:, None]  # [B,N]
    nearest.masked_fill_(padding, -1.0)  # below every distance: never the farthest
    farthest = start
    for step in range(num_samples):
        picked[:, step] = farthest
        center = xyz.gather(1, farthest[:, None, None].expand(-1, 1, 3))  # [B,1,3]
        distance = _squared_distance(center, xyz)[:, 0]  # [B,N]
        nearest = torch.minimum(nearest, distance)
        farthest = nearest.argmax(dim=1)  # torch promises the first of equal maxima
    return picked


def knn(query: Tensor, xyz: Tensor, k: int, lengths: Tensor) -> Tensor:
    """Return [B,S,k] nearest indices, sorted by (distance, index), for float32 inputs.

    topk does not order ties, so it runs on unique integer keys: the bits of a non-negative float
    grow with its value, and the index fills the low half.
    """
    index = torch.arange(xyz.shape[1], device=xyz.device)  # [N]
    padding = (index >= lengths[:, None])[:, None]  # [B,1,N]
    found = []
    for block in _query_blocks(query, xyz):
        distance = _squared_distance(block, xyz)  # [B,s,N]
        key = (distance.view(torch.int32).long() << 32) | index
        key.masked_fill_(padding, _LAST)
        nearest = key.topk(k, dim=-1, largest=False, sorted=True).values  # [B,s,k]
        found.append(nearest & 0xFFFFFFFF)
    return torch.cat(found, dim=1)


def ball_query(
    query: Tensor, xyz: Tensor, squared_radius: float, k: int, lengths: Tensor
) -> Tensor:
    """Return [B,S,k] lowest indices with squared distance < squared_radius, padded with the first.

    An empty ball gives index 0.
    """
    num_points = xyz.shape[1]
    index = torch.arange(num_points, device=xyz.device)  # [N]
    inside = (index < lengths[:, None])[:, None]  # [B,1,N]
    found = []
    for block in _query_blocks(query, xyz):
        close = (_squared_distance(block, xyz) < squared_radius) & inside  # [B,s,N]
        key = torch.where(close, index, num_points)
        lowest = key.topk(min(k, num_points), dim=-1, largest=False, sorted=True).values
        found.append(lowest)
    lowest = torch.cat(found, dim=1)  # [B,S,min(k,N)]
    first = lowest[..., :1] % num_points  # N, an empty ball, becomes 0
    lowest = torch.where(lowest == num_points, first, lowest)
    surplus = first.expand(-1, -1, k - lowest.shape[-1])  # k may exceed N
    return torch.cat([lowest, surplus], dim=-1)
