"""The operators that search a cloud: check, choose a back end, call it.

Distances are float32, whatever the dtype of the input. Every back end returns the same indices.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lavis.common.errors import ShapeError
from lavis.models.point_ops.backends import BACKENDS, load_backend, resolve_backend
from lavis.models.point_ops.checks import (
    check_count,
    check_same_batch,
    start_indices,
)
from lavis.models.point_ops.gather import gather_points, group_points
from lavis.models.point_ops.valid import ValidPoints, valid_points

__all__ = [
    "BACKENDS",
    "ball_query",
    "farthest_point_sample",
    "gather_points",
    "group_points",
    "knn",
    "resolve_backend",
]


def farthest_point_sample(
    xyz: Tensor,
    num_samples: int,
    start_index: int | Tensor | torch.Generator = 0,
    backend: str = "auto",
    *,
    lengths: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Pick points one by one, each the farthest from all points picked before.

    Exact and deterministic: among equally far points the lowest index wins, so that a cloud with
    fewer distinct points than samples repeats its first valid point.

    Args:
        xyz: coordinates [B,N,3], any float dtype and layout; computed in float32.
        num_samples: S, at most the valid points of the smallest cloud.
        start_index: first pick: one for all clouds, a Long tensor [B], or a torch.Generator that
            draws one per cloud (seeded random starts).
        backend: "auto" (numba on CPU, Triton or torch on CUDA), "torch", "numba" or "triton".
        lengths: Long [B], when only the first lengths[b] points of cloud b count.
        mask: bool [B,N], when only some points count; instead of `lengths`.

    Returns:
        Long [B,S] indices in the order of picking.

    Raises:
        ShapeError: bad shape, dtype, NaN/infinity, S above a cloud's points, a start outside.
        ConfigError: unknown back end, or one that does not run on the device.

    References:
        PointNet++, arXiv:1706.02413, section 3.2.
    """
    cloud = valid_points(xyz, lengths, mask, "xyz")
    check_count(num_samples, cloud.lengths, "num_samples")
    start = start_indices(start_index, cloud)
    kernels = load_backend(backend, xyz.device)
    picked = kernels.farthest_point_sample(cloud.xyz, num_samples, start, cloud.lengths)
    return cloud.original(picked)


def knn(
    query: Tensor,
    xyz: Tensor,
    k: int,
    backend: str = "auto",
    *,
    lengths: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Find the k nearest points of `xyz` for every query, sorted by distance and then by index.

    Squared distances are sums of squared float32 differences; the expansion |a|²+|b|²-2ab that
    is usual here cancels digits and picks a wrong neighbour in about 0.02% of groups.
    No B x S x N tensor is ever held.

    Args:
        query: coordinates [B,S,3], all finite.
        xyz: coordinates [B,N,3] on the same device.
        k: neighbours per query, at most the valid points of the smallest cloud. A query that is
            itself a point of `xyz` finds itself.
        backend: as in `farthest_point_sample`.
        lengths: Long [B], when only the first lengths[b] points of cloud b count.
        mask: bool [B,N], when only some points of `xyz` count; instead of `lengths`.

    Returns:
        Long [B,S,k] indices into `xyz`.

    Raises:
        ShapeError: bad shape, dtype, NaN/infinity, k above a cloud's points, or batches or
            devices that differ.
        ConfigError: unknown back end, or one that does not run on the device.
    """
    cloud, queries = _cloud_and_queries(query, xyz, lengths, mask)
    check_count(k, cloud.lengths, "k")
    kernels = load_backend(backend, xyz.device)
    return cloud.original(kernels.knn(queries, cloud.xyz, k, cloud.lengths))


def ball_query(
    query: Tensor,
    xyz: Tensor,
    radius: float,
    k: int,
    backend: str = "auto",
    *,
    lengths: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Find up to k points of `xyz` closer to every query than `radius`, lowest indices first.

    The padding rule is that of the published CUDA code: a ball with fewer than k points repeats
    its first one, an empty ball gives the first valid point of the cloud k times.

    Args:
        query: coordinates [B,S,3], all finite.
        xyz: coordinates [B,N,3] on the same device.
        radius: of the open ball, positive; squared in float32.
        k: indices per query (nsample), at least 1; may exceed N.
        backend, lengths, mask: as in `knn`.

    Returns:
        Long [B,S,k] indices into `xyz`.

    Raises:
        ShapeError: as `knn`, or a radius that is not a positive number.
        ConfigError: unknown back end, or one that does not run on the device.

    References:
        PointNet++, arXiv:1706.02413, section 3.2; pointnet2_ops, ball_query_gpu.cu.
    """
    cloud, queries = _cloud_and_queries(query, xyz, lengths, mask)
    check_count(k, None, "k")
    if isinstance(radius, bool) or not isinstance(radius, int | float) or not 0 < radius < math.inf:
        raise ShapeError("radius cannot be used.", got=repr(radius), expected="a positive number")
    squared_radius = torch.tensor(radius, dtype=torch.float32).square().item()
    kernels = load_backend(backend, xyz.device)
    return cloud.original(kernels.ball_query(queries, cloud.xyz, squared_radius, k, cloud.lengths))


def _cloud_and_queries(
    query: Tensor, xyz: Tensor, lengths: Tensor | None, mask: Tensor | None
) -> tuple[ValidPoints, Tensor]:
    """Check clouds and queries; return the clouds and float32 queries [B,S,3]."""
    queries = valid_points(query, None, None, "query").xyz
    cloud = valid_points(xyz, lengths, mask, "xyz")
    check_same_batch(query, xyz, "query", "xyz")
    return cloud, queries
