"""Occupied cells of regular grids, and which cell of one grid reads which of another.

A cell is a packed key (cloud, x, y, z), so that sorted keys are the voxel index: a neighbour's key
is the cell's plus a constant, and one pass over the sorted keys finds all neighbours. This needs no
hash table and gives the same order on every device.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from lavis.common.errors import ShapeError

GRID_SIZE = 4096  # cells along an axis: 200 m at 5 cm
OFFSETS = tuple(product((-1, 0, 1), repeat=3))  # the opposite of offset k is offset 26 - k


@dataclass(frozen=True)
class VoxelGrid:
    """Occupied cells of a batch of clouds, sorted by cloud, x, y, z.

    Attributes:
        keys: Long [M], sorted.
        cells: Long [M,3] from 0, in the cloud's own grid.
        cloud: Long [M], the cloud of each cell.
        size: cells along an axis that the keys allow.
    """

    keys: Tensor
    cells: Tensor
    cloud: Tensor
    size: int

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True)
class KernelMap:
    """Which input a convolution reads at each of K offsets.

    Attributes:
        table: int32 [M,K], row of the input for output and offset; -1: none.
        back: int32 [M',K], row of the output that reads an input at an offset; -1: none.
    """

    table: Tensor
    back: Tensor

    @property
    def transposed(self) -> KernelMap:
        """The map from the outputs to the inputs."""
        return KernelMap(self.back, self.table)


def voxelize(
    xyz: Tensor, cloud: Tensor, voxel_size: float, grid_size: int = GRID_SIZE
) -> tuple[VoxelGrid, Tensor]:
    """Put points into cells; each cloud's grid begins at its lowest occupied cell.

    Args:
        xyz: float [P,3], finite, in the unit of `voxel_size`.
        cloud: Long [P] in [0,B), sorted.
        voxel_size: edge of a cell.
        grid_size: most cells along an axis.

    Returns:
        The grid, and Long [P], the cell of each point.

    Raises:
        ShapeError: a cloud is larger than the grid.
    """
    place = torch.floor(xyz.double() / voxel_size).long()  # [P,3]
    count = int(cloud[-1]) + 1 if len(cloud) else 0
    rows = cloud[:, None].expand(-1, 3)
    lowest = place.new_zeros(count, 3).scatter_reduce(0, rows, place, "amin", include_self=False)
    cells = place - lowest[cloud]
    _check_fits(cells, cloud, voxel_size, grid_size)
    keys, cell_of_point = torch.unique(_pack(cells, cloud, grid_size), return_inverse=True)
    return _unpack(keys, grid_size), cell_of_point


def coarsen(grid: VoxelGrid) -> tuple[VoxelGrid, KernelMap]:
    """Join 2 x 2 x 2 cells to one.

    Returns:
        The coarser grid, and the map from `grid` to it with K = 8.
    """
    keys, parent = torch.unique(_pack(grid.cells // 2, grid.cloud, grid.size), return_inverse=True)
    child = (grid.cells % 2 * grid.cells.new_tensor([4, 2, 1])).sum(1)  # [M]
    fine = torch.arange(len(grid), device=keys.device)
    table = torch.full((len(keys), 8), -1, dtype=torch.int32, device=keys.device)
    back = torch.full((len(grid), 8), -1, dtype=torch.int32, device=keys.device)
    table[parent, child] = fine.int()
    back[fine, child] = parent.int()
    return _unpack(keys, grid.size), KernelMap(table, back)


def neighbours(grid: VoxelGrid) -> KernelMap:
    """Return which of the 3 x 3 x 3 cells around every cell are occupied, in the order OFFSETS."""
    step = _steps(grid.size).to(grid.keys.device)
    deltas = (step.new_tensor(OFFSETS) * step).sum(1)  # [27]
    if grid.keys.device.type == "cpu":
        from lavis.models.voxel_ops.kernels import find_neighbours  # numba, unused on a GPU

        table = torch.full((len(grid), 27), -1, dtype=torch.int32)
        find_neighbours(grid.keys.numpy(), deltas[:13].numpy(), table.numpy())
    else:
        table = search_neighbours(grid.keys, deltas)
    return KernelMap(table, table.flip(1))


def search_neighbours(keys: Tensor, deltas: Tensor) -> Tensor:
    """Return the rows of keys + delta in sorted keys [M], -1 where there is none: int32 [M,K]."""
    wanted = keys[:, None] + deltas  # [M,K]
    row = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
    return torch.where(keys[row] == wanted, row, -1).int()


def _steps(size: int) -> Tensor:
    """Return what a step along x, y and z adds to a key; a free cell lies at both ends."""
    side = size + 2
    return torch.tensor([side * side, side, 1])


def _pack(cells: Tensor, cloud: Tensor, size: int) -> Tensor:
    """Return the keys [M] of cells [M,3]."""
    steps = _steps(size).to(cells.device)
    return cloud * (size + 2) ** 3 + ((cells + 1) * steps).sum(1)


def _unpack(keys: Tensor, size: int) -> VoxelGrid:
    side = size + 2
    parts = (keys // (side * side), keys // side, keys)
    cells = torch.stack([part % side for part in parts], 1) - 1
    return VoxelGrid(keys, cells, keys // side**3, size)


def _check_fits(cells: Tensor, cloud: Tensor, voxel_size: float, grid_size: int) -> None:
    if not len(cells) or int(cells.max()) < grid_size:
        return
    row = int(cloud[cells.amax(1).argmax()])
    extent = (cells[cloud == row].amax(0) + 1) * voxel_size
    what = "a cloud is larger than the voxel grid"
    got = " x ".join(f"{value:.6g}" for value in extent.tolist())
    expected = f"at most {grid_size * voxel_size:.6g} along each axis ({grid_size} cells)"
    fix = "crop the scene, check its unit (metres), or raise point_encoder.voxel_size or grid_size"
    raise ShapeError(what, where=f"batch row {row}", got=got, expected=expected, fix=fix)
