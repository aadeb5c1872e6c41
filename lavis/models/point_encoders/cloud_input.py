"""What happens to a cloud before it is encoded: check, resample, turn, give it its channels."""

from __future__ import annotations

import torch
from torch import Tensor

from lavis.common.errors import ShapeError
from lavis.models.point_encoders.config import COLOR_VALUES
from lavis.models.point_ops.checks import check_finite
from lavis.models.point_ops.gather import gather_points


def check_point_cloud(point_cloud: Tensor) -> None:
    """Check an encoder's input at the boundary.

    Args:
        point_cloud: expected float [B,N,3] or [B,N,6] with B, N >= 1.

    Raises:
        ShapeError: wrong rank, channels or dtype, empty batch or cloud, NaN or infinity.
    """
    shape = list(point_cloud.shape)
    if point_cloud.dim() != 3 or shape[-1] not in (3, 6):
        raise ShapeError(
            "point_cloud has the wrong shape.",
            got=shape,
            expected="[B,N,3] (xyz) or [B,N,6] (xyz + rgb)",
            fix="add a batch axis to a single cloud; select the channels in the processor",
        )
    if not point_cloud.is_floating_point():
        raise ShapeError(
            "point_cloud is not float.", got=point_cloud.dtype, expected="a float dtype"
        )
    if shape[0] == 0:
        raise ShapeError("point_cloud is an empty batch.", got=shape, expected="B >= 1")
    if shape[1] == 0:
        raise ShapeError("point_cloud has no points.", got=shape, expected="N >= 1")
    check_finite(point_cloud, "point_cloud")


def resample(points: Tensor, num_points: int) -> Tensor:
    """Give clouds [B,N,C] exactly `num_points` points.

    Too many: a fixed pseudo-random subset (the same for every cloud of N points, so an evaluation
    repeats exactly; file order often follows the surface, so every n-th point would be biased).
    Too few: all points, again and again; the first N stay where they were.
    """
    given = points.shape[1]
    if given == num_points:
        return points
    return points.index_select(1, _resample_index(given, num_points).to(points.device))


def resample_padded(points: Tensor, lengths: Tensor, wanted: Tensor, size: int) -> Tensor:
    """Resample every cloud of a padded batch as `resample` would alone.

    Args:
        points: [B,N,C].
        lengths: Long [B], points of each cloud.
        wanted: Long [B], points of each afterwards.
        size: N' of the result, at least the largest of `wanted`.

    Returns:
        [B,N',C]; the padding repeats each cloud's first point.
    """
    index = torch.zeros(len(points), size, dtype=torch.long)
    for row, (given, count) in enumerate(zip(lengths.tolist(), wanted.tolist(), strict=True)):
        index[row, :count] = _resample_index(given, count)
    return gather_points(points, index.to(points.device))


def _resample_index(given: int, num_points: int) -> Tensor:
    """Return which of `given` points stay: Long [num_points]."""
    if given <= num_points:
        return torch.arange(num_points) % given
    return torch.randperm(given, generator=torch.Generator().manual_seed(0))[:num_points]


def valid_rows(lengths: Tensor, size: int) -> Tensor:
    """Return which of `size` padded rows are real: bool [B,size]; lengths Long [B]."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def blank_padding(point_cloud: Tensor, lengths: Tensor) -> Tensor:
    """Return a padded batch [B,N,C] whose padding is zero.

    Raises:
        ShapeError: `lengths` is not Long [B] within [1,N].
    """
    fits = point_cloud.dim() == 3 and lengths.shape == point_cloud.shape[:1]
    fits = fits and lengths.dtype == torch.int64
    if not fits or bool(((lengths < 1) | (lengths > point_cloud.shape[1])).any()):
        raise ShapeError(
            "lengths does not fit point_cloud.",
            got=f"{lengths.dtype} {list(lengths.shape)} for {list(point_cloud.shape)}",
            expected="torch.int64 [B] within [1,N]",
        )
    valid = valid_rows(lengths, point_cloud.shape[1])
    return torch.where(valid[..., None], point_cloud, 0.0)


def turn_up(xyz: Tensor, up_axis: str) -> Tensor:
    """Turn coordinates [...,3] to the weights' gravity axis; see `EncoderConfig.up_axis`."""
    x, y, z = xyz.unbind(-1)
    if up_axis == "y_to_z":
        return torch.stack([x, -z, y], dim=-1)
    if up_axis == "z_to_y":
        return torch.stack([x, z, -y], dim=-1)
    return torch.stack([x, z, y], dim=-1) if up_axis == "swap_yz" else xyz


def turn_back(xyz: Tensor, up_axis: str) -> Tensor:
    """Undo `turn_up`."""
    opposite = {"y_to_z": "z_to_y", "z_to_y": "y_to_z"}
    return turn_up(xyz, opposite.get(up_axis, up_axis))


def with_channels(points: Tensor, point_dims: int, missing_color: str) -> Tensor:
    """Give points [B,N,3|6] the `point_dims` channels that the network reads."""
    xyz = points[..., :3]
    if point_dims == 3:
        return xyz
    if points.shape[-1] == 3:
        return torch.cat([xyz, torch.full_like(xyz, COLOR_VALUES[missing_color])], dim=-1)
    return points
