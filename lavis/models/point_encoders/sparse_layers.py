"""Layers of sparse-voxel networks: convolution with BatchNorm, residual blocks of two, stages."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lavis.models.voxel_ops import KernelMap, sparse_conv


class SparseConvNorm(nn.Module):
    """Sparse convolution and BatchNorm, which is folded into the weights in eval mode.

    Args:
        in_dim, out_dim: widths.
        offsets: K of the kernel maps, 27 or 8.
    """

    def __init__(self, in_dim: int, out_dim: int, offsets: int) -> None:
        super().__init__()
        # Of 27 cells about 9 are occupied on a surface: He's gain for these.
        present = min(offsets, 9)
        weight = torch.randn(offsets, in_dim, out_dim) * (2.0 / (present * in_dim)) ** 0.5
        self.weight, self.norm = nn.Parameter(weight), nn.BatchNorm1d(out_dim)

    def forward(self, x: Tensor, kernel_map: KernelMap) -> Tensor:
        """Convolve x [M',C] to [M,D]; a single row has no statistics and takes the running ones."""
        if self.norm.training and len(kernel_map.table) > 1:
            return self.norm(sparse_conv(x, self.weight, kernel_map))
        weight, bias = fold_sparse(self.weight, self.norm)
        return sparse_conv(x, weight, kernel_map, bias)


def fold_sparse(weight: Tensor, norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """Fold a BatchNorm with its running statistics into weights [K,C,D]: weights and bias [D]."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)  # [D]
    return weight * scale, norm.bias - norm.running_mean * scale


class SparseBlock(nn.Module):
    """Residual block: two convolutions over 3 x 3 x 3 cells and a shortcut.

    Args:
        in_dim, out_dim: widths; a linear layer adapts the shortcut where they differ.
    """

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.conv1 = SparseConvNorm(in_dim, out_dim, 27)
        self.conv2 = SparseConvNorm(out_dim, out_dim, 27)
        same = in_dim == out_dim
        self.shortcut = nn.Identity() if same else nn.Linear(in_dim, out_dim, bias=False)

    def forward(self, x: Tensor, near: KernelMap) -> Tensor:
        """Transform x [M,C] to [M,D]."""
        hidden = F.relu(self.conv1(x, near), inplace=True)
        return F.relu(self.conv2(hidden, near) + self.shortcut(x), inplace=True)


class SparseStage(nn.ModuleList):
    """Residual blocks of one level.

    Args:
        in_dim, out_dim: widths.
        blocks: their number.
    """

    def __init__(self, in_dim: int, out_dim: int, blocks: int) -> None:
        ins = [in_dim] + [out_dim] * (blocks - 1)
        super().__init__(SparseBlock(width, out_dim) for width in ins)

    def forward(self, x: Tensor, near: KernelMap) -> Tensor:
        """Transform x [M,C] to [M,D]."""
        for block in self:
            x = block(x, near)
        return x
