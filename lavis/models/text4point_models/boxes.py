"""Boxes [K,6|7]: centre, size and, as seventh number, the turn about +y in radians."""

from __future__ import annotations

import torch
from torch import Tensor


def inside(xyz: Tensor, boxes: Tensor) -> Tensor:
    """Return which points [N,3] are inside which boxes [K,6|7]: bool [N,K]."""
    local = xyz[:, None] - boxes[:, :3]  # [N,K,3]
    if boxes.shape[1] == 7:
        cos, sin = boxes[:, 6].cos(), boxes[:, 6].sin()
        x, y, z = local.unbind(-1)
        local = torch.stack([x * cos - z * sin, y, x * sin + z * cos], dim=-1)
    return (local.abs() <= boxes[:, 3:6] / 2).all(-1)


def around(boxes: Tensor) -> Tensor:
    """Return the axis-aligned boxes [K,6] around boxes [K,6|7]."""
    if boxes.shape[1] == 6:
        return boxes
    cos, sin = boxes[:, 6].cos().abs(), boxes[:, 6].sin().abs()
    width, height, depth = boxes[:, 3:6].unbind(-1)
    size = [width * cos + depth * sin, height, width * sin + depth * cos]
    return torch.cat([boxes[:, :3], torch.stack(size, dim=-1)], dim=-1)


def aligned_iou(a: Tensor, b: Tensor) -> Tensor:
    """Return the intersection over union of axis-aligned boxes [...,6], by broadcasting: [...]."""
    low = torch.maximum(a[..., :3] - a[..., 3:] / 2, b[..., :3] - b[..., 3:] / 2)
    high = torch.minimum(a[..., :3] + a[..., 3:] / 2, b[..., :3] + b[..., 3:] / 2)
    common = (high - low).clamp(min=0).prod(-1)
    return common / (a[..., 3:].prod(-1) + b[..., 3:].prod(-1) - common).clamp(min=1e-9)


def suppress(boxes: Tensor, labels: Tensor, scores: Tensor, most: float) -> Tensor:
    """Keep the best of the boxes of one class that overlap (NMS).

    Args:
        boxes: [K,6|7]; turned ones by the aligned boxes around them, as VoteNet does.
        labels: Long [K].
        scores: [K].
        most: intersection over union above which the worse of two boxes goes.

    Returns:
        Long [M], rows that stay, best first.
    """
    order = scores.argsort(descending=True, stable=True)
    sorted_boxes, sorted_labels = around(boxes)[order], labels[order]
    overlap = aligned_iou(sorted_boxes[:, None], sorted_boxes[None]) > most
    conflict = overlap & (sorted_labels[:, None] == sorted_labels[None])  # [K,K]
    kept = torch.ones(len(order), dtype=torch.bool)
    for row in range(len(order)):
        if kept[row]:
            kept[row + 1 :] &= ~conflict[row, row + 1 :].cpu()
    return order[kept.to(order.device)]
