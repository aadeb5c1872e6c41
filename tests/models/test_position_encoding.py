"""Sinusoidal encodings of token centres and of grid cells."""

from __future__ import annotations

import pytest
import torch

from lavis.common.errors import ShapeError
from lavis.models.position_encoding import encode_cells, encode_grid, encode_xyz


def test_each_axis_has_its_own_sines_and_cosines():
    centers = torch.tensor([[[0.5, -0.25, 0.0]]])
    encoding = encode_xyz(centers, 14, resolution=10.0)
    assert encoding.shape == (1, 1, 14)
    frequencies = torch.tensor([1.0, 10000.0**-0.5])
    expected = torch.cat(
        [
            part
            for axis in (5.0, -2.5, 0.0)
            for part in ((axis * frequencies).sin(), (axis * frequencies).cos())
        ]
    )
    torch.testing.assert_close(encoding[0, 0, :12], expected)
    assert encoding[0, 0, 12:].tolist() == [0.0, 0.0]


def test_different_places_have_different_encodings():
    centers = torch.rand(1, 50, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    distances = torch.cdist(encode_xyz(centers, 48), encode_xyz(centers, 48))[0]
    assert (distances + 1e9 * torch.eye(50)).min() > 0.1


@pytest.mark.parametrize("sizes", [(5,), (3, 4), (2, 3, 4)])
def test_grid_cells_have_the_sines_and_cosines_of_their_indices(sizes):
    width = 4 * len(sizes)  # two frequencies for each axis
    encoding = encode_grid(sizes, width)
    assert encoding.shape == (*sizes, width)
    frequencies = torch.tensor([1.0, 10000.0**-0.5])
    cell = tuple(size - 1 for size in sizes)
    expected = torch.cat(
        [
            torch.stack([(k * frequencies).sin(), (k * frequencies).cos()], -1).flatten()
            for k in cell
        ]
    )
    torch.testing.assert_close(encoding[cell], expected)


def test_widths_that_axes_do_not_divide_are_cut():
    assert encode_grid((2, 2, 2), 7).shape == (2, 2, 2, 7)


@pytest.mark.parametrize(("sizes", "width"), [((), 8), ((1, 2, 3, 4), 8), ((0, 2), 8), ((2,), 0)])
def test_other_grids_are_refused(sizes, width):
    with pytest.raises(ShapeError, match="1 to 3 sizes"):
        encode_grid(sizes, width)


@pytest.mark.parametrize("width", [6, 20, 37])
def test_cells_have_the_encoding_of_their_place_in_the_grid(width: int) -> None:
    sizes = (4, 7, 3)
    cells = torch.cartesian_prod(*[torch.arange(size) for size in sizes])
    expected = encode_grid(sizes, width).flatten(0, 2)
    torch.testing.assert_close(encode_cells(cells, width), expected, rtol=0, atol=1e-6)
