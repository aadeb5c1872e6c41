"""Triton back end for CUDA: one program per cloud (sampling) or per query (searches).

Indices equal `reference.py`: kernels are launched with `enable_fp_fusion=False`, so that no
multiplication and addition fuse into one rounding, and distances are compared as int32 bits, whose
order is that of non-negative floats. A query's distances stay in registers: the k-th smallest is
found by bisecting its 31 bits, and nothing of size S x N is written.

Written for torch's bundled Triton (3.x) and run in Triton's interpreter on the CPU; its speed on a
GPU has not been measured yet.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from lavis.models.point_ops import reference

_RESIDENT_POINTS = 8192  # x, y, z and distance in registers: 16 points a thread with 16 warps
_SEARCH_POINTS = 16384  # one distance per point in registers; larger clouds run plain torch


@triton.jit
def _distance_bits(x, y, z, index, inside, qx, qy, qz):
    """Return the int32 bits of the squared distances of points `index`; the largest outside."""
    dx = tl.load(x + index, mask=inside, other=0.0) - qx
    dy = tl.load(y + index, mask=inside, other=0.0) - qy
    dz = tl.load(z + index, mask=inside, other=0.0) - qz
    distance = dx * dx + dy * dy + dz * dz
    return tl.where(inside, distance.to(tl.int32, bitcast=True), 0x7FFFFFFF)


@triton.jit
def _sample_resident(axes, lengths, start, picked, num_points, num_samples, BLOCK: tl.constexpr):
    """Farthest-point sampling of one cloud [3,N] that fits into registers."""
    row = tl.program_id(0).to(tl.int64)
    cloud = axes + row * 3 * num_points
    index = tl.arange(0, BLOCK)
    inside = index < tl.load(lengths + row)
    x = tl.load(cloud + index, mask=inside, other=0.0)
    y = tl.load(cloud + num_points + index, mask=inside, other=0.0)
    z = tl.load(cloud + 2 * num_points + index, mask=inside, other=0.0)
    nearest = tl.where(inside, 0x7F800000, -1)  # infinity; below every distance for padding
    pick = tl.load(start + row)
    for step in range(num_samples):
        tl.store(picked + row * num_samples + step, pick)
        dx = x - tl.load(cloud + pick)
        dy = y - tl.load(cloud + num_points + pick)
        dz = z - tl.load(cloud + 2 * num_points + pick)
        distance = dx * dx + dy * dy + dz * dz
        nearest = tl.minimum(nearest, distance.to(tl.int32, bitcast=True))
        farthest = tl.max(nearest, axis=0)
        pick = tl.min(tl.where(nearest == farthest, index, BLOCK), axis=0)


@triton.jit
def _sample_tiled(
    axes, lengths, start, picked, nearest, num_points, num_samples, BLOCK: tl.constexpr
):
    """Farthest-point sampling of one cloud [3,N] tile by tile; nearest int32 [B,N] is scratch."""
    row = tl.program_id(0).to(tl.int64)
    x = axes + row * 3 * num_points
    y = x + num_points
    z = y + num_points
    scratch = nearest + row * num_points
    count = tl.load(lengths + row)
    pick = tl.load(start + row)
    for step in range(num_samples):
        tl.store(picked + row * num_samples + step, pick)
        qx, qy, qz = tl.load(x + pick), tl.load(y + pick), tl.load(z + pick)
        best = tl.full([BLOCK], -1, tl.int32)  # per lane, over the tiles
        best_index = tl.zeros([BLOCK], tl.int32)
        for first in range(0, count, BLOCK):
            index = first + tl.arange(0, BLOCK)
            inside = index < count
            bits = _distance_bits(x, y, z, index, inside, qx, qy, qz)
            bits = tl.minimum(bits, tl.load(scratch + index, mask=inside, other=-1))
            tl.store(scratch + index, bits, mask=inside)
            farther = bits > best  # strict: tiles come in order, so the lowest index stays
            best = tl.where(farther, bits, best)
            best_index = tl.where(farther, index, best_index)
        farthest = tl.max(best, axis=0)
        pick = tl.min(tl.where(best == farthest, best_index, 0x7FFFFFFF), axis=0)
        tl.debug_barrier()


@triton.jit
def _nearest_keys(
    axes, queries, lengths, keys, num_points, num_queries, K: tl.constexpr, BLOCK: tl.constexpr
):
    """Write the K smallest keys (distance bits above index) of one query, in order of index."""
    column = tl.program_id(0).to(tl.int64)
    row = tl.program_id(1).to(tl.int64)
    x = axes + row * 3 * num_points
    query = queries + (row * num_queries + column) * 3
    index = tl.arange(0, BLOCK)
    inside = index < tl.load(lengths + row)
    qx, qy, qz = tl.load(query), tl.load(query + 1), tl.load(query + 2)
    bits = _distance_bits(x, x + num_points, x + 2 * num_points, index, inside, qx, qy, qz)
    low = tl.min(bits, axis=0)
    high = low * 0 + 0x7F800000  # infinity, which every valid point reaches
    for _ in range(31):
        middle = low + ((high - low) >> 1)
        enough = tl.sum((bits <= middle).to(tl.int32), axis=0) >= K
        high = tl.where(enough, middle, high)
        low = tl.where(enough, low, tl.minimum(middle + 1, high))
    closer = bits < high  # high is now the K-th smallest distance
    tied = (bits == high).to(tl.int32)
    room = K - tl.sum(closer.to(tl.int32), axis=0)
    chosen = closer | ((tied == 1) & (tl.cumsum(tied, axis=0) <= room))
    slot = tl.cumsum(chosen.to(tl.int32), axis=0) - 1
    key = (bits.to(tl.int64) << 32) | index.to(tl.int64)
    tl.store(keys + (row * num_queries + column) * K + slot, key, mask=chosen)


@triton.jit
def _first_in_ball(
    axes,
    queries,
    lengths,
    found,
    num_points,
    num_queries,
    limit,
    K: tl.constexpr,
    SLOTS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write the first K points of one query's ball; `limit` holds the squared radius' bits."""
    column = tl.program_id(0).to(tl.int64)
    row = tl.program_id(1).to(tl.int64)
    x = axes + row * 3 * num_points
    query = queries + (row * num_queries + column) * 3
    index = tl.arange(0, BLOCK)
    inside = index < tl.load(lengths + row)
    qx, qy, qz = tl.load(query), tl.load(query + 1), tl.load(query + 2)
    bits = _distance_bits(x, x + num_points, x + 2 * num_points, index, inside, qx, qy, qz)
    close = bits < limit
    rank = tl.cumsum(close.to(tl.int32), axis=0)
    total = tl.sum(close.to(tl.int32), axis=0)
    first = tl.min(tl.where(close, index, BLOCK), axis=0) % BLOCK  # BLOCK, an empty ball, is 0
    target = found + (row * num_queries + column) * K
    tl.store(target + rank - 1, index, mask=close & (rank <= K))
    slot = tl.arange(0, SLOTS)
    padding = tl.zeros([SLOTS], tl.int32) + first
    tl.store(target + slot, padding, mask=(slot >= total) & (slot < K))


def _launch_options(block: int) -> dict[str, int | bool]:
    """Return the options of every launch: warps for a block, and separate roundings."""
    return {"num_warps": min(16, max(4, block // 512)), "enable_fp_fusion": False}


def farthest_point_sample(xyz: Tensor, num_samples: int, start: Tensor, lengths: Tensor) -> Tensor:
    """Sample [B,S] of float32 xyz [B,N,3] from the first picks `start` [B]."""
    batch_size, num_points, _ = xyz.shape
    axes = xyz.transpose(1, 2).contiguous()  # [B,3,N]
    picked = torch.empty(batch_size, num_samples, dtype=torch.int32, device=xyz.device)
    block = min(triton.next_power_of_2(num_points), _RESIDENT_POINTS)
    common = (axes, lengths.int(), start.int(), picked)
    options = _launch_options(block)
    if num_points <= block:
        _sample_resident[(batch_size,)](*common, num_points, num_samples, BLOCK=block, **options)
    else:
        shape = (batch_size, num_points)
        nearest = torch.full(shape, 0x7F800000, dtype=torch.int32, device=xyz.device)
        sizes = (num_points, num_samples)
        _sample_tiled[(batch_size,)](*common, nearest, *sizes, BLOCK=block, **options)
    return picked.long()


def knn(query: Tensor, xyz: Tensor, k: int, lengths: Tensor) -> Tensor:
    """Return [B,S,k] nearest indices, sorted by (distance, index), for float32 inputs."""
    batch_size, num_points, _ = xyz.shape
    if num_points > _SEARCH_POINTS:
        return reference.knn(query, xyz, k, lengths)
    axes, queries = xyz.transpose(1, 2).contiguous(), query.contiguous()
    keys = torch.empty(batch_size, query.shape[1], k, dtype=torch.long, device=xyz.device)
    block = triton.next_power_of_2(num_points)
    grid = (query.shape[1], batch_size)
    arguments = (axes, queries, lengths.int(), keys, num_points, query.shape[1])
    _nearest_keys[grid](*arguments, K=k, BLOCK=block, **_launch_options(block))
    return keys.sort(dim=-1).values & 0xFFFFFFFF


def ball_query(
    query: Tensor, xyz: Tensor, squared_radius: float, k: int, lengths: Tensor
) -> Tensor:
    """Return [B,S,k] lowest indices with squared distance < squared_radius, padded with the first.

    An empty ball gives index 0.
    """
    batch_size, num_points, _ = xyz.shape
    if num_points > _SEARCH_POINTS:
        return reference.ball_query(query, xyz, squared_radius, k, lengths)
    axes, queries = xyz.transpose(1, 2).contiguous(), query.contiguous()
    found = torch.empty(batch_size, query.shape[1], k, dtype=torch.int32, device=xyz.device)
    limit = int(torch.tensor(squared_radius, dtype=torch.float32).view(torch.int32))
    block = triton.next_power_of_2(num_points)
    grid = (query.shape[1], batch_size)
    arguments = (axes, queries, lengths.int(), found, num_points, query.shape[1], limit)
    slots = triton.next_power_of_2(k)
    _first_in_ball[grid](*arguments, K=k, SLOTS=slots, BLOCK=block, **_launch_options(block))
    return found.long()
