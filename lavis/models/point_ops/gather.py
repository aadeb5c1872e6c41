"""Reading points by index: rows of a cloud, and neighbourhoods relative to their centre."""

from __future__ import annotations

import torch
from torch import Tensor

from lavis.common.errors import ShapeError
from lavis.models.point_ops.checks import check_index


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
            "features has the wrong rank.", got=list(features.shape), expected="[B,N,C]"
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
            "center does not fit the groups.",
            got=f"center {list(center.shape)}, index {list(neighbor_index.shape)}, "
            f"points {list(points.shape)}",
            expected="center [B,G,3], index [B,G,S], points [B,N,C>=3]",
        )
    relative = neighborhood[..., :3] - center[:, :, None, :]  # [B,G,S,3]
    if points.shape[-1] == 3:
        return relative
    return torch.cat([relative, neighborhood[..., 3:]], dim=-1)  # [B,G,S,C]
