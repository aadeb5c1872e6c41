"""Occupancy cells: equal to the baselines' histogram, and blind to shift, scale and padding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lavis.evaluation.baselines import features
from lavis.models.point_blip_models.occupancy import occupancy


@pytest.fixture
def cloud() -> torch.Tensor:
    """Three clouds [3,100,6]."""
    return torch.rand(3, 100, 6, generator=torch.Generator().manual_seed(1))


def test_cells_equal_those_of_the_baselines(cloud):
    for row, found in zip(cloud[..., :3].numpy(), occupancy(cloud, features.GRID), strict=True):
        xyz = row - (row.max(axis=0) + row.min(axis=0)) / 2
        unit = xyz / np.linalg.norm(xyz, axis=1).max()
        np.testing.assert_array_equal(found.numpy(), features.occupancy(unit))


def test_shift_scale_and_colour_do_not_matter(cloud):
    moved = cloud.clone()
    moved[..., :3] = moved[..., :3] * 4 + 8  # exact in float32 but for the last bit of a sum
    moved[..., 3:] = 0
    difference = (occupancy(moved, 4) - occupancy(cloud, 4)).abs()
    assert difference.sum() <= 2 * 2 / 100  # a point on the edge of a cell may change it


@pytest.mark.parametrize("length", [1, 7, 100])
def test_padding_does_not_count(cloud, length):
    padded = cloud.clone()
    padded[:, length:] = 0.0
    found = occupancy(padded, 5, torch.full((3,), length))
    assert torch.equal(found, occupancy(cloud[:, :length], 5))
    torch.testing.assert_close(found.sum(1), torch.ones(3))
