"""A sparse-voxel U-Net: a feature for every point of a room, on our own operators.

Residual blocks of convolutions over occupied cells as in MinkowskiNet (Choy et al.,
arXiv 1904.08755) and SparseConvNet (Graham et al., arXiv 1711.10275); no weights are published for
this code, and sizes are ours, chosen for CPUs. A cell's input is the mean over its points of the
place in the cell, the height above the cloud's lowest point, and the colour. All points of a cell
have one feature. Input coordinates are in the unit of `voxel_size`: metres in rooms.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lavis.models.point_encoders.cloud_input import valid_rows
from lavis.models.point_encoders.config import EncoderConfig, refuse
from lavis.models.point_encoders.dense import DenseEncoder, DenseEncoding
from lavis.models.point_encoders.registry import register_point_encoder
from lavis.models.point_encoders.sparse_layers import SparseConvNorm, SparseStage
from lavis.models.voxel_ops import KernelMap, VoxelGrid, coarsen, neighbours, voxelize
from lavis.models.voxel_ops.grid import GRID_SIZE


@dataclass(frozen=True)
class SparseUnetConfig(EncoderConfig):
    """Keys of the sparse-voxel U-Net.

    Attributes:
        voxel_size: edge of a cell, in the unit of the cloud.
        widths: of the levels, finest first; each level has cells twice as large as the one before.
        blocks: residual blocks of a level, in each half.
        grid_size: most cells along an axis; a larger cloud is refused.
    """

    voxel_size: float = 0.05
    widths: tuple[int, ...] = (32, 64, 96, 128)
    blocks: int = 1
    grid_size: int = GRID_SIZE

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_size_lists(None, "widths")
        self.require_sizes("blocks", "grid_size")
        size = self.voxel_size
        if isinstance(size, bool) or not isinstance(size, int | float) or size <= 0:
            refuse("voxel_size", size, "a positive number")
        if self.num_points is not None:
            refuse("num_points", self.num_points, "null: every point of the cloud is a token")
        if self.drop_path_rate or self.use_grad_checkpoint:
            key = "drop_path_rate" if self.drop_path_rate else "use_grad_checkpoint"
            refuse(key, getattr(self, key), "none: the sparse U-Net does not have it")


class SparseState(NamedTuple):
    """What the decoder half needs.

    Attributes:
        near: map of each level to itself.
        down: map of each level to the next.
        skips: features of each level [M_l,C_l] but the last.
        cell_of_point: Long [P] of the finest level.
        valid: bool [B,N], rows of the P points.
    """

    near: list[KernelMap]
    down: list[KernelMap]
    skips: list[Tensor]
    cell_of_point: Tensor
    valid: Tensor


@register_point_encoder("sparse_unet")
class SparseUnet(DenseEncoder):
    """Per-point encoder of any number of points; the tokens are the cells of the last level.

    The global feature is the maximum over a cloud's tokens.
    """

    config: SparseUnetConfig
    config_class = SparseUnetConfig

    def __init__(self, config: SparseUnetConfig | None = None) -> None:
        config = config or SparseUnetConfig()
        super().__init__(config)
        widths, blocks = config.widths, config.blocks
        self.stem = SparseConvNorm(config.point_dims + 1, widths[0], 27)
        self.encoder = nn.ModuleList(SparseStage(width, width, blocks) for width in widths)
        pairs = list(pairwise(widths))
        self.down = nn.ModuleList(SparseConvNorm(fine, coarse, 8) for fine, coarse in pairs)
        self.up = nn.ModuleList(SparseConvNorm(coarse, fine, 8) for fine, coarse in pairs)
        self.decoder = nn.ModuleList(SparseStage(2 * fine, fine, blocks) for fine, _ in pairs)
        self.embed_dim, self.token_dim, self.global_dim = widths[0], widths[-1], widths[-1]
        self.num_tokens = None

    def encode(self, point_cloud: Tensor, *, lengths: Tensor | None = None) -> DenseEncoding:
        """Make tokens of the cells of the last level.

        Raises:
            ShapeError: see `check_point_cloud`, or a cloud is larger than the grid.
        """
        points = self.prepare(point_cloud, lengths)  # [B,N,C]
        valid = points.new_ones(points.shape[:2], dtype=torch.bool)
        if lengths is not None:
            valid = valid_rows(lengths, points.shape[1])
        cloud = valid.nonzero()[:, 0]  # Long [P]
        flat, size = points[valid], self.config.voxel_size  # [P,C]
        grid, cell = voxelize(flat[:, :3], cloud, size, self.config.grid_size)
        x = mean_per_cell(point_features(flat, cloud, size), cell, len(grid))  # [M,C+1]
        state = SparseState([neighbours(grid)], [], [], cell, valid)
        x = F.relu(self.stem(x, state.near[0]), inplace=True)
        x, parent = self.encoder[0](x, state.near[0]), cell
        for down, stage in zip(self.down, self.encoder[1:]):
            grid, to_coarse = coarsen(grid)
            parent = to_coarse.back.amax(1).long()[parent]
            state.skips.append(x)
            state.down.append(to_coarse)
            state.near.append(neighbours(grid))
            x = stage(F.relu(down(x, to_coarse), inplace=True), state.near[-1])
        return self._encoding(x, grid, flat, parent, state)

    def _encoding(
        self, x: Tensor, grid: VoxelGrid, points: Tensor, parent: Tensor, state: SparseState
    ) -> DenseEncoding:
        """Describe the tokens x [T,d] of points [P,C], whose cells are parent [P]."""
        index = torch.zeros(state.valid.shape, dtype=torch.long, device=x.device)
        index[state.valid] = parent
        rows = grid.cloud[:, None].expand_as(x)
        empty = x.new_zeros(len(state.valid), x.shape[1])
        most = empty.scatter_reduce(0, rows, x, "amax", include_self=False)
        centers = self.cloud_axes(mean_per_cell(points[:, :3], parent, len(grid)))
        shares = state.valid[..., None].float()
        place = (grid.cloud, centers, grid.cells)
        return DenseEncoding(x, *place, index[..., None], shares, most, state)

    def decode(self, encoding: DenseEncoding, tokens: Tensor) -> Tensor:
        """Make features of points [B,N,D] of tokens [T,d]."""
        state: SparseState = encoding.state
        x = tokens
        for level in reversed(range(len(self.up))):
            x = F.relu(self.up[level](x, state.down[level].transposed), inplace=True)
            x = torch.cat([state.skips[level], x], -1)
            x = self.decoder[level](x, state.near[level])
        features = x.new_zeros(*state.valid.shape, x.shape[1])
        return features.masked_scatter(state.valid[..., None], x[state.cell_of_point])


def point_features(points: Tensor, cloud: Tensor, size: float) -> Tensor:
    """Return the input of each point [P,C+1]: place in its cell, height, colour if there is one."""
    place = points[:, :3] / size
    within = place - place.floor() - 0.5
    up = points[:, 1]
    lowest = up.new_zeros(int(cloud[-1]) + 1)
    lowest = lowest.scatter_reduce(0, cloud, up, "amin", include_self=False)
    return torch.cat([within, (up - lowest[cloud])[:, None], points[:, 3:]], -1)


def mean_per_cell(values: Tensor, cell: Tensor, count: int) -> Tensor:
    """Return the means [count,F] of values [P,F] by their cells, Long [P]."""
    total = values.new_zeros(count, values.shape[1]).index_add(0, cell, values)
    return total / torch.bincount(cell, minlength=count)[:, None]
