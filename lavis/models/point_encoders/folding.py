"""1x1 convolutions as matrix products, with BatchNorm folded into them at inference."""

from __future__ import annotations

from typing import Any

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
    return affine_norm(points, affine, norm, relu=True)


def affine_norm(points: Tensor, affine: Affine, norm: nn.Module, relu: bool = False) -> Tensor:
    """Apply affine map and BatchNorm.

    Args:
        points: [...,in]; statistics in training are over all points.
        affine: weight [out,in], and bias [out], or [M,out] for points [M,S,in].
        norm: BatchNorm of width out.
        relu: behind it.

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
        normed = norm(flat)
        # In place on the norm's result: on a view of it, autograd copies the gradient three times.
        return (normed.relu_() if relu else normed).view_as(values)
    return values.relu_() if relu else values


def shared_mlp(points: Tensor, convs: nn.ModuleList, norms: nn.ModuleList) -> Tensor:
    """Apply 1x1 convolution, BatchNorm and ReLU in turn to points [...,in] -> [...,out]."""
    for conv, norm in zip(convs, norms, strict=True):
        points = affine_norm_relu(points, affine_of(conv), norm)
    return points


def pooled_mlp(points: Tensor, convs: nn.ModuleList, norms: nn.ModuleList) -> Tensor:
    """Apply `shared_mlp` to groups [...,S,in] and take the maximum of each: [...,out].

    The maximum comes before the last ReLU, which costs 1/S then.
    """
    points = shared_mlp(points, convs[:-1], norms[:-1])
    return group_max(affine_norm(points, affine_of(convs[-1]), norms[-1])).relu()


class _GroupMax(torch.autograd.Function):
    """`amax` over the points of groups with its own gradient, which equals divide."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        strongest = values.amax(dim=-2)
        ctx.save_for_backward(values, strongest)
        return strongest

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        values, strongest = ctx.saved_tensors
        mask = (values == strongest.unsqueeze(-2)).to(grads[0].dtype)
        return mask.mul_((grads[0] / mask.sum(dim=-2)).unsqueeze(-2))


def group_max(values: Tensor) -> Tensor:
    """Return the maximum of groups [...,S,C] over their points: [...,C].

    The gradient is that of `amax` to the bit. That counts the equals of a group in int64, and
    takes 2.4 times as long (2,048 groups of 64 points, forward and backward).
    """
    return _GroupMax.apply(values) if values.requires_grad else values.amax(dim=-2)
