"""Convolution over sparse voxels: out[m] = bias + sum over k of x[table[m,k]] @ weight[k]."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from lavis.common.errors import ShapeError
from lavis.models.point_ops.cpu import in_shares
from lavis.models.voxel_ops.grid import KernelMap


def sparse_conv(
    x: Tensor, weight: Tensor, kernel_map: KernelMap, bias: Tensor | None = None
) -> Tensor:
    """Convolve features of voxels.

    Args:
        x: [M',C], features of the inputs; float32 on the CPU runs compiled kernels.
        weight: [K,C,D].
        kernel_map: table [M,K] and back [M',K].
        bias: [D].

    Returns:
        [M,D]; differentiable (once) in x, weight and bias.

    Raises:
        ShapeError: shapes that do not fit each other.
    """
    fits = x.ndim == 2 and weight.ndim == 3 and x.shape[1] == weight.shape[1]
    if not fits or len(x) != len(kernel_map.back) or len(weight) != kernel_map.table.shape[1]:
        got = f"x {list(x.shape)}, weight {list(weight.shape)}, back {list(kernel_map.back.shape)}"
        expected = "x [M',C], weight [K,C,D], back [M',K]"
        what = "features, weights and map do not fit each other"
        raise ShapeError(what, got=got, expected=expected)
    if x.device.type != "cpu" or x.dtype == torch.float64:
        return gather_scatter(x, weight, kernel_map.table, bias)
    start = weight.new_zeros(weight.shape[2]) if bias is None else bias
    return _CompiledConv.apply(x.float(), weight.float(), start.float(), kernel_map)


def gather_scatter(x: Tensor, weight: Tensor, table: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute the same in plain torch: for each offset gather, multiply, scatter."""
    out = x.new_zeros(len(table), weight.shape[2])
    for k in range(len(weight)):
        rows = (table[:, k] >= 0).nonzero().flatten()
        picked = x.index_select(0, table[rows, k].long())
        out = out.index_add(0, rows, picked @ weight[k])
    return out if bias is None else out + bias


class _CompiledConv(torch.autograd.Function):
    """The kernels of `kernels.py`, over rows on as many threads as torch uses."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, kernel_map: KernelMap) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.kernel_map = kernel_map
        return _convolve(x, weight, kernel_map.table, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        table, back = ctx.kernel_map.table, ctx.kernel_map.back
        grad = grad.contiguous()
        needs_x, needs_weight, needs_bias, _ = ctx.needs_input_grad
        to_x = weight.transpose(1, 2)  # [K,D,C]
        return (
            _convolve(grad, to_x, back, grad.new_zeros(x.shape[1])) if needs_x else None,
            _weight_gradient(x, grad, table) if needs_weight else None,
            grad.sum(0) if needs_bias else None,
            None,
        )


def _convolve(x: Tensor, weight: Tensor, table: Tensor, bias: Tensor) -> Tensor:
    from lavis.models.voxel_ops.kernels import ROWS, convolve  # numba, unused on a GPU

    width = weight.shape[2]
    out = _in_lanes(bias.detach()).repeat(len(table), 1)
    tensors = (x.detach(), _in_lanes(weight.detach()), table)
    arrays = [tensor.contiguous().numpy() for tensor in tensors]
    in_shares(partial(convolve, *arrays, out.numpy()), -(-len(table) // ROWS))
    # a copy: a view of another tensor could not be changed in place (one row is contiguous)
    return out if out.shape[1] == width else out[:, :width].clone()


def _weight_gradient(x: Tensor, grad: Tensor, table: Tensor) -> Tensor:
    from lavis.models.voxel_ops.kernels import convolve_weights

    wide = _in_lanes(grad)
    out = x.new_zeros(table.shape[1], x.shape[1], wide.shape[1])
    arrays = [tensor.contiguous().numpy() for tensor in (x, wide, table)]
    in_shares(partial(convolve_weights, *arrays, out.numpy()), len(out))
    return out[..., : grad.shape[1]].contiguous()


def _in_lanes(tensor: Tensor) -> Tensor:
    """Fill the last axis up with zeros to a multiple of the kernels' LANES."""
    from lavis.models.voxel_ops.kernels import LANES

    missing = -tensor.shape[-1] % LANES
    return F.pad(tensor, (0, missing)) if missing else tensor
