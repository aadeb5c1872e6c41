"""Where the points of a cloud lie, on a coarse grid: a descriptor of shape that is not learned.

Extra trees on these cells and the box classify bricks better than the trained encoder
(docs/LOG.md), so the cells serve as a key of neighbours (`retrieved_texts.py`).
"""

from __future__ import annotations

import torch
from torch import Tensor

_NO_SIZE = 1e-6  # of a single point


def occupancy(point_cloud: Tensor, grid: int, lengths: Tensor | None = None) -> Tensor:
    """Return the share of a cloud's points in each cell of a grid over [-1,1]^3.

    The middle of the box becomes the origin and the farthest point has distance 1, so neither a
    shift nor a scale of the cloud changes the cells.

    Args:
        point_cloud: [B,N,3|6], xyz first.
        grid: cells G along each axis.
        lengths: Long [B], points of each cloud when they are padded; None: all are real.

    Returns:
        float32 [B,G*G*G], x outermost; each row sums to 1.
    """
    xyz = point_cloud[..., :3].float()  # [B,N,3]
    real = torch.ones(xyz.shape[:2], dtype=torch.bool, device=xyz.device)
    if lengths is not None:
        real = torch.arange(xyz.shape[1], device=xyz.device) < lengths.to(xyz.device)[:, None]
        xyz = torch.where(real[..., None], xyz, xyz[:, :1])  # a repeated point moves no box
    low, high = xyz.amin(1, keepdim=True), xyz.amax(1, keepdim=True)  # [B,1,3]
    xyz = xyz - (low + high) / 2
    radius = xyz.norm(dim=-1).amax(1)[:, None, None].clamp_min(_NO_SIZE)  # [B,1,1]
    cell = ((xyz / radius + 1) * (grid / 2)).long().clamp(0, grid - 1)  # [B,N,3]
    index = (cell[..., 0] * grid + cell[..., 1]) * grid + cell[..., 2]  # [B,N]
    counts = torch.zeros(len(xyz), grid**3, device=xyz.device)
    counts = counts.scatter_add(1, index, real.float())
    return counts / counts.sum(1, keepdim=True)
