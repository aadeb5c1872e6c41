"""Input checks of the point operators; messages state got and expected."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lavis.common.errors import ShapeError

if TYPE_CHECKING:
    from lavis.models.point_ops.valid import ValidPoints


def check_cloud(xyz: Tensor, name: str) -> None:
    """Check that `xyz` is a non-empty float tensor [B,N,3].

    Raises:
        ShapeError: for another rank, width or dtype, or an empty batch or cloud.
    """
    if not isinstance(xyz, Tensor) or not xyz.is_floating_point():
        got = f"{xyz.dtype} tensor" if isinstance(xyz, Tensor) else type(xyz).__name__
        raise ShapeError(f"{name} is not a float tensor.", got=got, expected="float [B,N,3]")
    if xyz.dim() != 3 or xyz.shape[-1] != 3:
        raise ShapeError(
            f"{name} has the wrong shape.",
            got=list(xyz.shape),
            expected="[B,N,3]",
            fix="pass point_cloud[..., :3]; a single cloud needs a batch axis: xyz[None]",
        )
    if xyz.shape[0] == 0 or xyz.shape[1] == 0:
        raise ShapeError(f"{name} is empty.", got=list(xyz.shape), expected="B >= 1 and N >= 1")


def check_finite(values: Tensor, name: str) -> None:
    """Raise ShapeError when `values` [B,...] holds NaN or infinity; the batch rows are named."""
    if bool(torch.isfinite(values.sum())):  # ten times faster than the test of every value;
        return  # a sum that overflows takes the slow path and passes it
    finite = torch.isfinite(values)
    if not bool(finite.all()):
        rows = (~finite).flatten(1).any(dim=1).nonzero().flatten().tolist()
        raise ShapeError(
            f"{name} holds NaN or infinity.",
            where=f"batch rows {rows[:8]}",
            got=f"{int((~finite).sum())} non-finite values",
            expected="finite coordinates",
            fix="drop or repair these clouds when the data is prepared",
        )


def check_count(count: int, lengths: Tensor | None, name: str) -> None:
    """Raise ShapeError unless 1 <= count <= every cloud's points.

    Args:
        count: the requested number, an int.
        lengths: Long [B], points of every cloud; None when more than there are is allowed.
        name: the argument.
    """
    available = None if lengths is None else int(lengths.min())
    is_count = isinstance(count, int) and not isinstance(count, bool) and count >= 1
    if is_count and (available is None or count <= available):
        return
    upper = "1 or more" if available is None else f"between 1 and {available}"
    clouds = "" if available is None else f" for clouds of {available} points"
    raise ShapeError(
        f"{name} does not fit the clouds.",
        got=f"{name}={count}{clouds}",
        expected=f"an integer {upper}",
        fix=f"lower {name} or sample more points",
    )


def check_same_batch(first: Tensor, second: Tensor, first_name: str, second_name: str) -> None:
    """Raise ShapeError unless two batches of clouds have one size and one device."""
    if first.shape[0] != second.shape[0] or first.device != second.device:
        raise ShapeError(
            f"{first_name} and {second_name} do not belong together.",
            got=f"{first_name} {list(first.shape)} on {first.device}, "
            f"{second_name} {list(second.shape)} on {second.device}",
            expected="the same batch size and device",
        )


def start_indices(start_index: int | Tensor | torch.Generator, cloud: ValidPoints) -> Tensor:
    """Return where in `cloud.xyz` every cloud's first sample lies, Long [B] on its device.

    Raises:
        ShapeError: for another shape or dtype, or an index that is no valid point.
    """
    lengths, order = cloud.lengths, cloud.order
    if isinstance(start_index, torch.Generator):
        place = start_index.device
        share = torch.rand(len(lengths), generator=start_index, device=place, dtype=torch.float64)
        return (share.to(lengths.device) * lengths).long()
    if isinstance(start_index, Tensor):
        start = start_index.to(lengths.device)
    else:
        start = torch.full_like(lengths, int(start_index))
    fits = start.shape == lengths.shape and start.dtype == torch.long
    if fits and order is not None:  # where the mask's sort moved the point to; N when outside
        moved = order == start[:, None]  # [B,N]
        start = torch.where(moved.any(dim=1), moved.int().argmax(dim=1), order.shape[1])
    if not fits or bool(((start < 0) | (start >= lengths)).any()):
        shown = start_index.tolist() if isinstance(start_index, Tensor) else start_index
        raise ShapeError(
            "start_index does not fit the clouds.",
            got=f"{start.dtype} {list(start.shape)}, {shown}",
            expected=f"an int or a Long tensor [{len(lengths)}] of valid points, at most "
            f"{int(lengths.max())} in a cloud",
        )
    return start


def check_index(index: Tensor, batch_size: int, num_points: int) -> None:
    """Check that `index` is a Long tensor [B,...] for clouds of `num_points` points.

    Values are checked on the CPU only: elsewhere the check would stall the device, and torch
    raises for them itself.
    """
    if index.dtype != torch.long or index.dim() < 2 or index.shape[0] != batch_size:
        raise ShapeError(
            "index has the wrong shape or dtype.",
            got=f"{index.dtype} {list(index.shape)}",
            expected=f"torch.int64 [{batch_size},...]",
        )
    on_cpu = index.device.type == "cpu" and index.numel() > 0
    if on_cpu and (int(index.min()) < 0 or int(index.max()) >= num_points):
        raise ShapeError(
            "index points outside the clouds.",
            got=f"values in [{int(index.min())}, {int(index.max())}]",
            expected=f"values in [0, {num_points})",
        )
