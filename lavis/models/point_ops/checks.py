"""Input checks of the point operators: what a caller can get wrong, said as got/expected."""

from __future__ import annotations

import torch
from torch import Tensor

from lavis.common.errors import ShapeError, explain


def check_cloud(xyz: Tensor, name: str) -> None:
    """Check that `xyz` is a finite, non-empty float tensor [B,N,3].

    Raises:
        ShapeError: for another rank, width, dtype, an empty batch or cloud, NaN or infinity.
    """
    if not isinstance(xyz, Tensor) or not xyz.is_floating_point():
        got = f"{xyz.dtype} tensor" if isinstance(xyz, Tensor) else type(xyz).__name__
        raise ShapeError(
            explain(f"{name} is not a float tensor.", got=got, expected="float [B,N,3]")
        )
    if xyz.dim() != 3 or xyz.shape[-1] != 3:
        raise ShapeError(
            explain(
                f"{name} has the wrong shape.",
                got=list(xyz.shape),
                expected="[B,N,3]",
                fix="pass point_cloud[..., :3]; a single cloud needs a batch axis: xyz[None]",
            )
        )
    if xyz.shape[0] == 0 or xyz.shape[1] == 0:
        raise ShapeError(
            explain(f"{name} is empty.", got=list(xyz.shape), expected="B >= 1 and N >= 1")
        )
    check_finite(xyz, name)


def check_finite(values: Tensor, name: str) -> None:
    """Raise ShapeError when `values` [B,...] holds NaN or infinity; the batch rows are named."""
    finite = torch.isfinite(values)
    if not bool(finite.all()):
        rows = (~finite).flatten(1).any(dim=1).nonzero().flatten().tolist()
        raise ShapeError(
            explain(
                f"{name} holds NaN or infinity.",
                where=f"batch rows {rows[:8]}",
                got=f"{int((~finite).sum())} non-finite values",
                expected="finite coordinates",
                fix="drop or repair these clouds when the data is prepared",
            )
        )


def check_count(count: int, available: int, name: str) -> None:
    """Raise ShapeError unless 1 <= count <= available (the number of points N)."""
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= available:
        raise ShapeError(
            explain(
                f"{name} does not fit the clouds.",
                got=f"{name}={count} for clouds of {available} points",
                expected=f"an integer between 1 and {available}",
                fix=f"lower {name} or sample more points",
            )
        )


def start_indices(start_index: int | Tensor, xyz: Tensor) -> Tensor:
    """Return the first sample of every cloud as a Long tensor [B] on the device of `xyz`.

    Raises:
        ShapeError: for another shape or dtype, or an index outside [0, N).
    """
    batch_size, num_points = xyz.shape[:2]
    if not isinstance(start_index, Tensor):
        start = torch.full((batch_size,), int(start_index), dtype=torch.long, device=xyz.device)
    else:
        start = start_index.to(xyz.device)
    fits = start.shape == (batch_size,) and start.dtype == torch.long
    if not fits or bool(((start < 0) | (start >= num_points)).any()):
        raise ShapeError(
            explain(
                "start_index does not fit the clouds.",
                got=f"{start.dtype} {list(start.shape)}, values {start.flatten()[:8].tolist()}",
                expected=f"an int or a Long tensor [{batch_size}] within [0, {num_points})",
            )
        )
    return start


def check_index(index: Tensor, batch_size: int, num_points: int) -> None:
    """Check that `index` is a Long tensor [B,...] for clouds of `num_points` points.

    Values are checked on the CPU only: elsewhere the check would stall the device, and torch
    raises for them itself.
    """
    if index.dtype != torch.long or index.dim() < 2 or index.shape[0] != batch_size:
        raise ShapeError(
            explain(
                "index has the wrong shape or dtype.",
                got=f"{index.dtype} {list(index.shape)}",
                expected=f"torch.int64 [{batch_size},...]",
            )
        )
    on_cpu = index.device.type == "cpu" and index.numel() > 0
    if on_cpu and (int(index.min()) < 0 or int(index.max()) >= num_points):
        raise ShapeError(
            explain(
                "index points outside the clouds.",
                got=f"values in [{int(index.min())}, {int(index.max())}]",
                expected=f"values in [0, {num_points})",
            )
        )
