"""Clouds of different sizes in one batch: the points that count, moved to the front.

Kernels take one form only, a count per cloud. A mask is turned into it by a stable sort, which
keeps the order of the points and therefore the rule that the lowest index wins a tie.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lavis.common.errors import ShapeError
from lavis.models.point_ops.checks import check_cloud, check_finite


@dataclass(frozen=True)
class ValidPoints:
    """A batch whose first points count.

    Attributes:
        xyz: float32 [B,N,3]; points that do not count are zero.
        lengths: Long [B], points that count, in [1,N].
        order: Long [B,N], where each point was before a mask moved it; None if nothing moved.
    """

    xyz: Tensor
    lengths: Tensor
    order: Tensor | None = None

    def original(self, index: Tensor) -> Tensor:
        """Return the caller's indices for `index` Long [B,...] into `xyz`."""
        if self.order is None:
            return index
        return self.order.gather(1, index.flatten(1)).reshape(index.shape)


def valid_points(
    xyz: Tensor, lengths: Tensor | None, mask: Tensor | None, name: str
) -> ValidPoints:
    """Check a batch of clouds and bring its valid points to the front.

    Args:
        xyz: coordinates [B,N,3], any float dtype and layout.
        lengths: Long [B]; the first lengths[b] points of cloud b count.
        mask: bool [B,N], True where a point counts; not together with `lengths`.
        name: what messages call the clouds.

    Raises:
        ShapeError: bad clouds, NaN or infinity in a valid point, lengths or a mask that do not
            fit, or a cloud without a valid point.
    """
    check_cloud(xyz, name)
    values = xyz.detach().float()
    batch_size, num_points = xyz.shape[:2]
    if lengths is None and mask is None:
        check_finite(values, name)  # after the cast: float64 may overflow in it
        return ValidPoints(values, torch.full((batch_size,), num_points, device=xyz.device))
    order = None
    if lengths is not None:
        counts = _check_lengths(lengths, mask, xyz, name)
        valid = torch.arange(num_points, device=xyz.device) < counts[:, None]  # [B,N]
    else:
        valid, counts = _check_mask(mask, xyz, name)
        order = (~valid).to(torch.uint8).argsort(dim=1, stable=True)  # [B,N]
    values = torch.where(valid[..., None], values, 0.0)
    check_finite(values, name)
    if order is not None:
        values = values.gather(1, order[..., None].expand(-1, -1, 3))
    return ValidPoints(values, counts, order)


def _check_lengths(lengths: Tensor, mask: Tensor | None, xyz: Tensor, name: str) -> Tensor:
    """Return lengths Long [B] on the clouds' device."""
    if mask is not None:
        raise ShapeError(
            f"{name} has lengths and a mask.", expected="one of the two", fix="drop one"
        )
    batch_size, num_points = xyz.shape[:2]
    counts = torch.as_tensor(lengths).to(xyz.device)
    fits = counts.shape == (batch_size,) and counts.dtype in (torch.long, torch.int32)
    if not fits or bool(((counts < 1) | (counts > num_points)).any()):
        raise ShapeError(
            f"lengths does not fit {name}.",
            got=f"{counts.dtype} {list(counts.shape)}, values {counts.flatten()[:8].tolist()}",
            expected=f"torch.int64 [{batch_size}] within [1, {num_points}]",
            fix="drop clouds without points when the data is prepared",
        )
    return counts.long()


def _check_mask(mask: Tensor | None, xyz: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """Return the mask bool [B,N] and its counts Long [B] on the clouds' device."""
    fits = isinstance(mask, Tensor) and mask.dtype == torch.bool and mask.shape == xyz.shape[:2]
    if not fits:
        got = f"{mask.dtype} {list(mask.shape)}" if isinstance(mask, Tensor) else type(mask)
        raise ShapeError(
            f"mask does not fit {name}.", got=got, expected=f"torch.bool {list(xyz.shape[:2])}"
        )
    assert mask is not None
    valid = mask.to(xyz.device)
    counts = valid.sum(dim=1)
    empty = (counts == 0).nonzero().flatten().tolist()
    if empty:
        raise ShapeError(
            f"{name} has clouds without a valid point.",
            where=f"batch rows {empty[:8]}",
            expected="at least one True in every row of mask",
        )
    return valid, counts
