"""1x1 convolutions as matrix products, with BatchNorm folded into them at inference."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

Affine = tuple[Tensor, Tensor]


def affine_of(layer: nn.Module) -> Affine:
    """Return weight [out,in] and bias [out] of a 1x1 convolution."""
    assert isinstance(layer, nn.Conv1d | nn.Conv2d)
    assert layer.bias is not None
    return layer.weight.flatten(1), layer.bias


def fold(affine: Affine, norm: nn.Module) -> Affine:
    """Fold a BatchNorm (or SyncBatchNorm) in eval mode into the affine map before it."""
    assert isinstance(norm, _BatchNorm)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    weight, bias = affine
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)  # [out]
    return weight * scale[:, None], (bias - norm.running_mean) * scale + norm.bias


def affine_norm_relu(points: Tensor, affine: Affine, norm: nn.Module) -> Tensor:
    """Apply affine map, BatchNorm and ReLU; see `affine_norm`."""
    return affine_norm(points, affine, norm).relu_()


def affine_norm(points: Tensor, affine: Affine, norm: nn.Module) -> Tensor:
    """Apply affine map and BatchNorm.

    Args:
        points: [...,in]; statistics in training are over all points.
        affine: weight [out,in], and bias [out], or [M,out] for points [M,S,in].
        norm: BatchNorm of width out.

    Returns:
        [...,out].
    """
    weight, bias = affine if norm.training else fold(affine, norm)
    if bias.dim() == 1:
        values = F.linear(points, weight, bias)  # [...,out]
    else:
        # The product is not needed by its own backward, so the sum may reuse its memory.
        values = F.linear(points, weight).add_(bias[:, None, :])  # [M,S,out]
    if norm.training:
        flat = values.flatten(0, -2)  # [M*S,out]
        flat = flat[:, :, None, None] if isinstance(norm, nn.BatchNorm2d) else flat
        values = norm(flat).view_as(values)
    return values


def shared_mlp(points: Tensor, convs: nn.ModuleList, norms: nn.ModuleList) -> Tensor:
    """Apply 1x1 convolution, BatchNorm and ReLU in turn to points [...,in] -> [...,out]."""
    for conv, norm in zip(convs, norms, strict=True):
        points = affine_norm_relu(points, affine_of(conv), norm)
    return points


def pooled_mlp(points: Tensor, convs: nn.ModuleList, norms: nn.ModuleList) -> Tensor:
    """Apply `shared_mlp` to groups [...,S,in] and take the maximum of each: [...,out].

    The maximum comes before the last ReLU, which costs 1/S then. In training one point of equals
    has the gradient: dividing it among them (`amax`) compares, counts and copies all S values.
    """
    points = shared_mlp(points, convs[:-1], norms[:-1])
    values = affine_norm(points, affine_of(convs[-1]), norms[-1])
    pooled = values.max(dim=-2).values if values.requires_grad else values.amax(dim=-2)
    return pooled.relu_()
