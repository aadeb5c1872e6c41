"""Groups of points: farthest-point centres and the points around them."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from lavis.models.point_ops import farthest_point_sample, gather_points, group_points, knn


class GroupIndices(NamedTuple):
    """Which points form the groups; unchanged by rotation, shift and uniform scaling (up to
    rounding), so a cache of them survives such augmentation.

    Attributes:
        center_index: Long [B,G].
        neighbor_index: Long [B,G,S], nearest first.
    """

    center_index: Tensor
    neighbor_index: Tensor


class PointGroups(NamedTuple):
    """The groups themselves.

    Attributes:
        neighborhood: float32 [B,G,S,C], xyz relative to the centre, then colour.
        center: float32 [B,G,3].
    """

    neighborhood: Tensor
    center: Tensor


def nearest_groups(
    xyz: Tensor,
    num_group: int,
    group_size: int,
    start: int | Tensor = 0,
    lengths: Tensor | None = None,
) -> GroupIndices:
    """Choose farthest-point centres of xyz [B,N,3] and the nearest points of each.

    With `lengths` Long [B] only the first lengths[b] points of a cloud count.
    """
    center_index = farthest_point_sample(xyz, num_group, start, lengths=lengths)
    center = gather_points(xyz, center_index)  # [B,G,3]
    return GroupIndices(center_index, knn(center, xyz, group_size, lengths=lengths))


def collect_groups(points: Tensor, indices: tuple[Tensor, Tensor]) -> PointGroups:
    """Read the groups of `GroupIndices` out of points [B,N,C]."""
    center_index, neighbor_index = indices
    center = gather_points(points[..., :3], center_index)  # [B,G,3]
    return PointGroups(group_points(points, neighbor_index, center), center)
