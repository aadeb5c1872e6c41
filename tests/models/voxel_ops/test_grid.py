"""Cells, coarser cells and neighbours, against dictionaries of cells."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lavis.common.errors import ShapeError
from lavis.models.voxel_ops import VoxelGrid, coarsen, neighbours, voxelize
from lavis.models.voxel_ops.grid import OFFSETS, search_neighbours


def draw(seed: int = 0, count: int = 300) -> tuple[Tensor, Tensor]:
    """Return points of three clouds, float [P,3] and Long [P]."""
    generator = torch.Generator().manual_seed(seed)
    xyz = torch.rand(count, 3, generator=generator) * 2 - 1
    return xyz, torch.randint(3, (count,), generator=generator).sort().values


def rows_of(grid: VoxelGrid) -> dict[tuple[int, ...], int]:
    """Return the row of every cell by (cloud, x, y, z)."""
    cells = torch.cat([grid.cloud[:, None], grid.cells], 1).tolist()
    return {tuple(cell): row for row, cell in enumerate(cells)}


def test_every_point_lies_in_its_cell():
    xyz, cloud = draw()
    grid, cell = voxelize(xyz, cloud, 0.25)
    assert torch.equal(grid.cloud[cell], cloud)
    assert torch.equal(grid.keys, grid.keys.unique())
    for row in range(3):
        place = (xyz[cloud == row] / 0.25).floor().long()
        assert torch.equal(grid.cells[cell][cloud == row], place - place.amin(0))


def test_a_grid_moves_with_whole_cells():
    xyz, cloud = draw()
    grid, cell = voxelize(xyz, cloud, 0.25)
    moved, same = voxelize(xyz + torch.tensor([0.5, -8.0, 1.25]), cloud, 0.25)
    assert torch.equal(grid.keys, moved.keys)
    assert torch.equal(cell, same)


@pytest.mark.parametrize("size", [0.1, 0.3, 5.0])
def test_neighbours_are_those_of_a_dictionary(size):
    grid, _ = voxelize(*draw(), size)
    rows, table = rows_of(grid), neighbours(grid)
    for (cloud, *cell), row in rows.items():
        found = [rows.get((cloud, *(a + b for a, b in zip(cell, o))), -1) for o in OFFSETS]
        assert table.table[row].tolist() == found
    # who reads an input at an offset has it as neighbour at that offset
    for row, k in (table.back >= 0).nonzero().tolist():
        assert table.table[table.back[row, k], k] == row


@pytest.mark.parametrize("seed", [1, 2])
def test_both_searches_find_the_same_neighbours(seed):
    grid, _ = voxelize(*draw(seed, 1000), 0.1, grid_size=100)
    steps = torch.tensor([102 * 102, 102, 1])
    deltas = (torch.tensor(OFFSETS) * steps).sum(1)
    assert torch.equal(search_neighbours(grid.keys, deltas), neighbours(grid).table)


def test_cells_at_the_border_have_no_neighbours_across_it():
    """Without free cells at the ends, the last cell of a line would touch the next line."""
    line = torch.arange(3) + 0.5
    xyz = torch.cartesian_prod(line, line, line)
    grid, _ = voxelize(xyz, torch.zeros(27, dtype=torch.long), 1.0, grid_size=3)
    counts = (neighbours(grid).table >= 0).sum(1)
    assert counts.max() == 27
    assert sorted(counts.unique().tolist()) == [8, 12, 18, 27]


def test_coarse_cells_hold_up_to_eight():
    grid, _ = voxelize(*draw(), 0.2)
    coarse, down = coarsen(grid)
    rows = rows_of(coarse)
    for (cloud, *cell), row in rows_of(grid).items():
        parent = rows[(cloud, *(value // 2 for value in cell))]
        child = sum(value % 2 * step for value, step in zip(cell, (4, 2, 1)))
        assert down.table[parent, child] == row
        assert down.back[row, child] == parent
    assert (down.table >= 0).sum() == (down.back >= 0).sum() == len(grid)
    assert down.transposed.table is down.back


def test_a_cloud_beyond_the_grid_is_refused_with_its_size():
    xyz, cloud = draw()
    xyz[cloud == 1] *= 100
    with pytest.raises(
        ShapeError, match=r"(?s)larger than the voxel grid.*batch row 1.*at most 10"
    ):
        voxelize(xyz, cloud, 0.1, grid_size=100)


def test_far_coordinates_keep_their_cells():
    """UTM coordinates in float32 are exact to 0.03 m; their cells begin at 0 all the same."""
    xyz, cloud = draw()
    grid, _ = voxelize(xyz + 2.0**19, cloud, 0.25)
    assert grid.cells.min() == 0
    assert grid.cells.max() <= 9
