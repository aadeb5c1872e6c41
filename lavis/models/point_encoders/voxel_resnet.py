"""A residual 3D convolutional network on an occupancy grid, as an object encoder.

VoxNet's input (Maturana and Scherer, IROS 2015) with the residual blocks of ResNet (He et al.,
arXiv 1512.03385); no weights are published for this code, and sizes are ours. On bricks it is level
with Point-BERT in classification (docs/results.md). It needs neither sampling nor grouping.

The cube around a cloud is cut into `grid_size`^3 cells. A cell's input: whether it is occupied, the
logarithm of its points, their mean place in it, and their mean colour.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lavis.models.point_encoders.base import PointEncoder, PointEncoderOutput
from lavis.models.point_encoders.cloud_input import valid_rows
from lavis.models.point_encoders.config import EncoderConfig, refuse
from lavis.models.point_encoders.registry import register_point_encoder

_MARGIN = 0.96  # share of the cube that a cloud fills: its outermost points are inside a cell
_NO_SIZE = 1e-6  # of a single point


@dataclass(frozen=True)
class VoxelResnetConfig(EncoderConfig):
    """Keys of the voxel network.

    Attributes:
        grid_size: cells along an axis, a multiple of 16 from 32 on.
        widths: of the stem and of the three levels, each of half the resolution.
        grid_jitter: in training, an edge shrinks by up to this share, and the cloud moves within
            the room that this leaves.
    """

    grid_size: int = 32
    widths: tuple[int, ...] = (24, 48, 96, 192)
    grid_jitter: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_sizes("grid_size")
        self.require_size_lists(4, "widths")
        self.require_rates("grid_jitter")
        if self.grid_size < 32 or self.grid_size % 16:
            refuse("grid_size", self.grid_size, "a multiple of 16 from 32 on: four levels halve it")
        if self.drop_path_rate or self.use_grad_checkpoint:
            key = "drop_path_rate" if self.drop_path_rate else "use_grad_checkpoint"
            refuse(key, getattr(self, key), "none: the voxel network does not have it")


class Cube(NamedTuple):
    """The cube around each of B clouds: middle [B,1,3] and half its edge [B,1,1]."""

    middle: Tensor
    half: Tensor


@register_point_encoder("voxel_resnet")
class VoxelResnet(PointEncoder):
    """Grid encoder of clouds of any size.

    Tokens are the cells of the third resolution, each beside the cell of the fourth that contains
    it. The global feature is mean and maximum over the last and maximum over the third resolution,
    standardised, so that its distances compare objects.
    """

    config: VoxelResnetConfig
    config_class = VoxelResnetConfig
    reads_lengths = True

    def __init__(self, config: VoxelResnetConfig | None = None) -> None:
        config = config or VoxelResnetConfig()
        super().__init__(config)
        stem, *rest = config.widths
        self.stem = nn.Conv3d(config.point_dims + 2, stem, 5, stride=2, padding=2, bias=False)
        self.stem_norm = nn.BatchNorm3d(stem)
        self.blocks = nn.ModuleList(VoxelBlock(*pair) for pair in pairwise(config.widths))
        self.global_norm = nn.BatchNorm1d(rest[1] + 2 * rest[2], affine=False)
        self.embed_dim = rest[1] + rest[2]
        self.global_dim = rest[1] + 2 * rest[2]
        self.num_tokens = (config.grid_size // 8) ** 3
        nn.Module.to(self, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    def forward(self, point_cloud: Tensor, *, lengths: Tensor | None = None) -> PointEncoderOutput:
        """Encode clouds (`PointEncoder.forward`).

        Returns:
            tokens [B,G,D], centers of their cells [B,G,3], global_feature [B,F], no class token.
        """
        points = self.prepare(point_cloud, lengths)
        counts = self.prepared_lengths(lengths)
        valid = None if counts is None else valid_rows(counts, points.shape[1])
        cube = surrounding_cube(points[..., :3], valid)
        x = self.stem(self.read_grid(points, cube, valid))
        x = F.relu(self.stem_norm(x), inplace=True)
        x = self.blocks[0](x)
        third = self.blocks[1](x)  # [B,C,g,g,g]
        last = self.blocks[2](third)
        pooled = [last.mean((2, 3, 4)), last.amax((2, 3, 4)), third.amax((2, 3, 4))]
        containing = last.repeat_interleave(2, 2).repeat_interleave(2, 3).repeat_interleave(2, 4)
        tokens = torch.cat([third, containing], 1).flatten(2).transpose(1, 2)  # [B,G,D]
        feature = standardise(torch.cat(pooled, 1).float(), self.global_norm)
        return PointEncoderOutput(tokens, self.cloud_axes(self.cell_centers(cube)), feature)

    def read_grid(self, points: Tensor, cube: Cube, valid: Tensor | None) -> Tensor:
        """Average points [B,N,C] in their cells: [B,C+2,grid,grid,grid].

        Args:
            points: as the network reads them.
            cube: around each cloud.
            valid: bool [B,N], or None when all points are real.
        """
        batch, size = len(points), self.config.grid_size
        place = self.jitter((points[..., :3] - cube.middle) / cube.half)  # within -1..1
        place = (place * _MARGIN + 1) / 2 * size
        index = place.floor().clamp(0, size - 1)
        values = torch.cat([place - index - 0.5, points[..., 3:]], -1)  # [B,N,C]
        x, y, z = index.long().unbind(-1)
        first = torch.arange(batch, device=points.device)[:, None] * size**3
        cell = first + (x * size + y) * size + z  # Long [B,N]
        values, cell = (values, cell) if valid is None else (values[valid], cell[valid])
        values, cell = values.reshape(-1, values.shape[-1]), cell.reshape(-1)
        count = torch.bincount(cell, minlength=batch * size**3).to(points.dtype)[:, None]
        total = values.new_zeros(len(count), values.shape[1]).index_add_(0, cell, values)
        occupied = (count > 0).to(points.dtype)
        cells = torch.cat([occupied, count.log1p() / 2, total / count.clamp_min(1)], 1)
        grid = cells.view(batch, size, size, size, -1).permute(0, 4, 1, 2, 3)
        return grid.contiguous(memory_format=torch.channels_last_3d)

    def jitter(self, place: Tensor) -> Tensor:
        """Shrink and move places [B,N,3] within -1..1, in training and with `grid_jitter`."""
        if not (self.training and self.config.grid_jitter):
            return place
        draws = torch.rand(2, len(place), 1, 3).to(place)
        shrunk = self.config.grid_jitter * draws[0]
        return place * (1 - shrunk) + shrunk * (2 * draws[1] - 1)

    def cell_centers(self, cube: Cube) -> Tensor:
        """Return the middles of the tokens' cells in the cloud's coordinates: [B,G,3]."""
        cells = self.config.grid_size // 8
        steps = (torch.arange(cells, device=cube.half.device) + 0.5) / cells * 2 - 1
        axes = torch.meshgrid(steps, steps, steps, indexing="ij")
        places = torch.stack(axes, -1).view(1, -1, 3) / _MARGIN
        return cube.middle + places * cube.half


class VoxelBlock(nn.Module):
    """Residual block of two convolutions; the first halves the resolution.

    Args:
        in_dim, out_dim: widths.
    """

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(in_dim, out_dim, 3, stride=2, padding=1, bias=False)
        self.conv2 = nn.Conv3d(out_dim, out_dim, 3, padding=1, bias=False)
        self.shortcut = nn.Conv3d(in_dim, out_dim, 1, stride=2, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm3d(out_dim), nn.BatchNorm3d(out_dim)
        self.norm3 = nn.BatchNorm3d(out_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Transform x [B,C,s,s,s] to [B,D,s/2,s/2,s/2]."""
        hidden = F.relu(self.norm1(self.conv1(x)), inplace=True)
        return F.relu(self.norm2(self.second(hidden)) + self.norm3(self.shortcut(x)))

    def second(self, x: Tensor) -> Tensor:
        """Return the second convolution of x [B,D,s,s,s], on 2x2x2 cells in float32.

        oneDNN 3.12 returns a wrong weight gradient for them in bf16, often infinite, on processors
        with AVX512-BF16.
        """
        if x.shape[-1] != 2 or x.device.type != "cpu":
            return self.conv2(x)
        with torch.autocast("cpu", enabled=False):
            return self.conv2(x.float())


def surrounding_cube(xyz: Tensor, valid: Tensor | None = None) -> Cube:
    """Return the smallest cube of the axes around each cloud xyz [B,N,3], of rows `valid` [B,N]."""
    low, high = xyz, xyz
    if valid is not None:
        low = xyz.masked_fill(~valid[..., None], torch.inf)
        high = xyz.masked_fill(~valid[..., None], -torch.inf)
    low, high = low.amin(1, keepdim=True), high.amax(1, keepdim=True)  # [B,1,3]
    edge = (high - low).amax(-1, keepdim=True).clamp_min(_NO_SIZE)
    return Cube((low + high) / 2, edge / 2)


def standardise(feature: Tensor, norm: nn.BatchNorm1d) -> Tensor:
    """Normalise feature [B,F]; a single row has no statistics and takes the running ones."""
    if norm.training and len(feature) > 1:
        return norm(feature)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return (feature - norm.running_mean) * torch.rsqrt(norm.running_var + norm.eps)
