"""The one API over the back ends: check, cast to float32, choose a back end, call it.

A back end is a module with `farthest_point_sample(xyz, num_samples, start)` and
`knn(query, xyz, k)` over checked float32 tensors. The next one (Triton on CUDA) is one more module
and one more branch of `_load_backend`.
"""

from __future__ import annotations

import importlib
from types import ModuleType

import torch
from torch import Tensor

from lavis.common.errors import ConfigError, ShapeError, explain, nearest
from lavis.models.point_ops.checks import check_cloud, check_count, check_index, start_indices

BACKENDS = {
    "torch": "lavis.models.point_ops.reference",
    "numba": "lavis.models.point_ops.cpu",
}


def resolve_backend(backend: str, device: torch.device) -> str:
    """Return the back end that `backend` means on `device`: "auto" is numba on CPU, else torch.

    Raises:
        ConfigError: for an unknown name, or numba with tensors that are not on the CPU.
    """
    if backend == "auto":
        return "numba" if device.type == "cpu" else "torch"
    if backend not in BACKENDS:
        known = ["auto", *BACKENDS]
        message = f"Unknown back end {backend!r}.{nearest(backend, known)}"
        raise ConfigError(explain(message, where="backend", got=backend, expected=known))
    if backend == "numba" and device.type != "cpu":
        raise ConfigError(
            explain(
                "The numba back end runs on the CPU.",
                where="backend",
                got=f"tensors on {device}",
                expected="CPU tensors",
                fix='use backend="auto" or backend="torch"',
            )
        )
    return backend


def _load_backend(backend: str, device: torch.device) -> ModuleType:
    """Import the chosen back end on first use, so that a GPU run never loads numba."""
    return importlib.import_module(BACKENDS[resolve_backend(backend, device)])


def farthest_point_sample(
    xyz: Tensor,
    num_samples: int,
    start_index: int | Tensor = 0,
    backend: str = "auto",
) -> Tensor:
    """Pick points one by one, each the farthest from all points picked before.

    Exact and deterministic: among equally far points the lowest index wins, so that a cloud with
    fewer distinct points than samples repeats its point 0. Distances are float32.

    Args:
        xyz: coordinates [B,N,3], any float dtype and layout; computed in float32.
        num_samples: S, at most N.
        start_index: first pick, one for all clouds or a Long tensor [B] (for random starts).
        backend: "auto" (numba on CPU, torch elsewhere), "torch" or "numba".

    Returns:
        Long [B,S] indices in the order of picking.

    Raises:
        ShapeError: bad shape, dtype, NaN/infinity, S > N, or a start outside the cloud.
        ConfigError: unknown back end.

    References:
        PointNet++, arXiv:1706.02413, section 3.2.
    """
    check_cloud(xyz, "xyz")
    check_count(num_samples, xyz.shape[1], "num_samples")
    start = start_indices(start_index, xyz)
    kernels = _load_backend(backend, xyz.device)
    return kernels.farthest_point_sample(xyz.detach().float(), num_samples, start)


def knn(query: Tensor, xyz: Tensor, k: int, backend: str = "auto") -> Tensor:
    """Find the k nearest points of `xyz` for every query, sorted by distance and then by index.

    Squared distances are sums of squared float32 differences; the expansion |a|²+|b|²-2ab that
    is usual here cancels digits and picks a wrong neighbour in about 0.02% of groups.
    No B x S x N tensor is ever held.

    Args:
        query: coordinates [B,S,3].
        xyz: coordinates [B,N,3] on the same device.
        k: neighbours per query, at most N. A query that is itself a point of `xyz` finds itself.
        backend: "auto" (numba on CPU, torch elsewhere), "torch" or "numba".

    Returns:
        Long [B,S,k] indices into `xyz`.

    Raises:
        ShapeError: bad shape, dtype, NaN/infinity, k > N, or batches or devices that differ.
        ConfigError: unknown back end.
    """
    check_cloud(query, "query")
    check_cloud(xyz, "xyz")
    check_count(k, xyz.shape[1], "k")
    if query.shape[0] != xyz.shape[0] or query.device != xyz.device:
        raise ShapeError(
            explain(
                "query and xyz do not belong together.",
                got=f"query {list(query.shape)} on {query.device}, "
                f"xyz {list(xyz.shape)} on {xyz.device}",
                expected="the same batch size and device",
            )
        )
    kernels = _load_backend(backend, xyz.device)
    return kernels.knn(query.detach().float(), xyz.detach().float(), k)


def gather_points(features: Tensor, index: Tensor) -> Tensor:
    """Read rows of every cloud: out[b,...] = features[b, index[b,...]].

    Differentiable with respect to `features`.

    Args:
        features: [B,N,C], any dtype.
        index: Long [B,...] with values in [0,N).

    Returns:
        [B,...,C].

    Raises:
        ShapeError: wrong rank, dtype, batch size, or an index outside the cloud.
    """
    if features.dim() != 3:
        raise ShapeError(
            explain("features has the wrong rank.", got=list(features.shape), expected="[B,N,C]")
        )
    batch_size, num_points, channels = features.shape
    check_index(index, batch_size, num_points)
    # One flat index_select is several times faster on CPU than gather or two-index indexing.
    offset = torch.arange(batch_size, device=index.device) * num_points
    flat = (index.reshape(batch_size, -1) + offset[:, None]).reshape(-1)  # [B*M]
    rows = features.reshape(batch_size * num_points, channels).index_select(0, flat)
    return rows.reshape(*index.shape, channels)


def group_points(points: Tensor, neighbor_index: Tensor, center: Tensor | None = None) -> Tensor:
    """Collect the neighbourhood of every centre.

    Args:
        points: [B,N,C], xyz in the first three channels.
        neighbor_index: Long [B,G,S], e.g. from `knn`.
        center: [B,G,3]; when given, xyz becomes relative to it and other channels stay as they are.

    Returns:
        neighborhood [B,G,S,C].

    Raises:
        ShapeError: shapes that do not fit each other.
    """
    neighborhood = gather_points(points, neighbor_index)  # [B,G,S,C]
    if center is None:
        return neighborhood
    expected = (*neighbor_index.shape[:2], 3)
    if neighbor_index.dim() != 3 or points.shape[-1] < 3 or tuple(center.shape) != expected:
        raise ShapeError(
            explain(
                "center does not fit the groups.",
                got=f"center {list(center.shape)}, index {list(neighbor_index.shape)}, "
                f"points {list(points.shape)}",
                expected="center [B,G,3], index [B,G,S], points [B,N,C>=3]",
            )
        )
    relative = neighborhood[..., :3] - center[:, :, None, :]  # [B,G,S,3]
    if points.shape[-1] == 3:
        return relative
    return torch.cat([relative, neighborhood[..., 3:]], dim=-1)  # [B,G,S,C]
