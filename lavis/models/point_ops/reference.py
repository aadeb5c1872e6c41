"""Plain torch point operators: the reference of every other back end, on any device.

Each squared distance is ((dx*dx + dy*dy) + dz*dz) with separate float32 operations. The order is a
contract: the compiled back ends round at the same places, so ties fall the same way everywhere.
Inputs are checked float32 tensors (see `ops.py`).
"""

from __future__ import annotations

import torch
from torch import Tensor

# Elements of one distance block; 2^22 float32 distances and their int64 keys are about 50 MB.
_BLOCK_ELEMENTS = 1 << 22


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


def farthest_point_sample(xyz: Tensor, num_samples: int, start: Tensor) -> Tensor:
    """Sample [B,S] of float32 xyz [B,N,3] from the first picks `start` [B]."""
    batch_size, num_points, _ = xyz.shape
    picked = torch.empty(batch_size, num_samples, dtype=torch.long, device=xyz.device)
    nearest = torch.full((batch_size, num_points), torch.inf, device=xyz.device)
    farthest = start
    for step in range(num_samples):
        picked[:, step] = farthest
        center = xyz.gather(1, farthest[:, None, None].expand(-1, 1, 3))  # [B,1,3]
        distance = _squared_distance(center, xyz)[:, 0]  # [B,N]
        nearest = torch.minimum(nearest, distance)
        farthest = nearest.argmax(dim=1)  # torch promises the first of equal maxima
    return picked


def knn(query: Tensor, xyz: Tensor, k: int) -> Tensor:
    """Return [B,S,k] nearest indices, sorted by (distance, index), for float32 inputs.

    topk does not order ties, so it runs on unique integer keys: the bits of a non-negative float
    grow with its value, and the index fills the low half.
    """
    batch_size, num_points, _ = xyz.shape
    rows = max(1, _BLOCK_ELEMENTS // (batch_size * num_points))
    index = torch.arange(num_points, device=xyz.device)  # [N]
    blocks = []
    for block in query.split(rows, dim=1):
        distance = _squared_distance(block, xyz)  # [B,s,N]
        key = (distance.view(torch.int32).long() << 32) | index
        nearest = key.topk(k, dim=-1, largest=False, sorted=True).values  # [B,s,k]
        blocks.append(nearest & 0xFFFFFFFF)
    return torch.cat(blocks, dim=1)
