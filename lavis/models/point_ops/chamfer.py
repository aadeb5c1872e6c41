"""Chamfer distance between point clouds, differentiable in both."""

from __future__ import annotations

import torch
from torch import Tensor

from lavis.common.errors import ConfigError, nearest
from lavis.models.point_ops.checks import check_same_batch
from lavis.models.point_ops.gather import gather_points
from lavis.models.point_ops.ops import knn
from lavis.models.point_ops.valid import valid_points

NORMS = ("l2", "l1")


def chamfer_distance(
    first: Tensor,
    second: Tensor,
    norm: str = "l2",
    backend: str = "auto",
    *,
    first_lengths: Tensor | None = None,
    second_lengths: Tensor | None = None,
) -> Tensor:
    """Compare clouds by the distance from every point to the nearest one of the other cloud.

    Only the nearest indices are searched for, so neither the value nor its gradient holds a
    B x N x M tensor.

    Args:
        first: coordinates [B,N,3].
        second: coordinates [B,M,3].
        norm: "l2", the two means of squared distances added; "l1", the two means of distances
            added and halved, as point-completion papers report them.
        backend: as in `knn`.
        first_lengths, second_lengths: Long [B], when only the first points of a cloud count.

    Returns:
        float32 [B].

    Raises:
        ShapeError: bad shape, dtype, NaN/infinity, lengths, or batches that differ.
        ConfigError: unknown norm or back end.

    References:
        Fan et al., arXiv:1612.00603, section 3.2.
    """
    if norm not in NORMS:
        message = f"Unknown norm {norm!r}.{nearest(norm, NORMS)}"
        raise ConfigError(message, where="norm", got=norm, expected=list(NORMS))
    one = valid_points(first, first_lengths, None, "first")
    two = valid_points(second, second_lengths, None, "second")
    check_same_batch(first, second, "first", "second")
    there = knn(one.xyz, two.xyz, 1, backend, lengths=two.lengths)[..., 0]  # [B,N]
    back = knn(two.xyz, one.xyz, 1, backend, lengths=one.lengths)[..., 0]  # [B,M]
    total = _mean_distance(first, second, there, one.lengths, norm) + _mean_distance(
        second, first, back, two.lengths, norm
    )
    return total if norm == "l2" else total / 2


def _mean_distance(
    source: Tensor, target: Tensor, index: Tensor, lengths: Tensor, norm: str
) -> Tensor:
    """Return [B], the mean over valid points of source [B,N,3] of their distance to target."""
    valid = torch.arange(source.shape[1], device=source.device) < lengths[:, None]  # [B,N]
    offset = source.float() - gather_points(target.float(), index)  # [B,N,3]
    # Padding may hold NaN; replacing offsets, not distances, keeps it out of the gradient.
    offset = torch.where(valid[..., None], offset, 0.0)
    distance = offset.square().sum(dim=-1)  # [B,N]
    if norm == "l1":  # the slope of a square root at 0 is infinite
        distance = torch.where(distance > 0, distance, 1.0).sqrt() * (distance > 0)
    return distance.sum(dim=1) / lengths
