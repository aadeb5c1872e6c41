"""The voxel network: its grid, its jitter, and what does not change its output."""

from __future__ import annotations

import pytest
import torch

from lavis.common.errors import ConfigError
from lavis.models.point_encoders import build_point_encoder
from lavis.models.point_encoders.voxel_resnet import VoxelBlock, surrounding_cube

SMALL = {"name": "voxel_resnet", "grid_size": 32, "widths": [4, 6, 8, 10]}


@pytest.fixture
def cloud() -> torch.Tensor:
    return torch.rand(2, 200, 6, generator=torch.Generator().manual_seed(3))


def test_the_grid_counts_and_averages_points(cloud):
    encoder = build_point_encoder({**SMALL, "point_dims": 6}).eval()
    cube = surrounding_cube(cloud[..., :3])
    grid = encoder.read_grid(cloud, cube, None)
    assert grid.shape == (2, 8, 32, 32, 32)
    place = ((cloud[..., :3] - cube.middle) / cube.half * 0.96 + 1) * 16
    for b in range(2):
        x, y, z = place[b, 17].floor().long()
        inside = (place[b].floor().long() == torch.stack([x, y, z])).all(-1)
        assert grid[b, 0, x, y, z] == 1.0
        torch.testing.assert_close(grid[b, 1, x, y, z], inside.sum().log1p() / 2)
        mean = (place[b, inside] - place[b, inside].floor() - 0.5).mean(0)
        torch.testing.assert_close(grid[b, 2:5, x, y, z], mean, atol=1e-5, rtol=1e-5)
        color = cloud[b, inside, 3:].mean(0)
        torch.testing.assert_close(grid[b, 5:, x, y, z], color, atol=1e-5, rtol=1e-5)
    occupied = grid[:, 0] > 0
    assert int((grid[:, 1].mul(2).expm1()).sum().round()) == 400
    assert not grid.permute(0, 2, 3, 4, 1)[~occupied].any()


def test_place_and_size_of_a_cloud_do_not_matter(cloud):
    encoder = build_point_encoder({**SMALL, "point_dims": 6}).eval()
    moved = torch.cat([cloud[..., :3] * 4 + 8, cloud[..., 3:]], -1)  # exact in binary
    ours, expected = encoder(moved), encoder(cloud)
    torch.testing.assert_close(ours.tokens, expected.tokens, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ours.centers, expected.centers * 4 + 8, atol=1e-4, rtol=1e-4)


def test_a_single_point_is_encoded():
    encoder = build_point_encoder(SMALL).train()
    output = encoder(torch.full((1, 1, 3), 0.25))
    assert torch.isfinite(output.tokens).all()
    assert torch.isfinite(output.global_feature).all()


def test_jitter_moves_within_the_cube_in_training_only(cloud):
    encoder = build_point_encoder({**SMALL, "grid_jitter": 0.5})
    place = torch.rand(4, 50, 3) * 2 - 1
    moved = encoder.train().jitter(place)
    assert (moved.abs() <= 1).all()
    assert not torch.equal(moved, place)
    assert encoder.eval().jitter(place) is place


def test_sizes_that_cannot_be_halved_are_refused():
    with pytest.raises(ConfigError, match="multiple of 16"):
        build_point_encoder({**SMALL, "grid_size": 24})
    with pytest.raises(ConfigError, match="widths"):
        build_point_encoder({**SMALL, "widths": [4, 6]})


def test_gradients_in_bf16_are_those_of_float32_within_rounding():
    """The last level has 2x2x2 cells, where oneDNN's bf16 weight gradient is wrong on some CPUs."""
    torch.manual_seed(0)
    block = VoxelBlock(16, 24)
    cells = torch.randn(8, 16, 4, 4, 4)
    gradients = []
    for enabled in (False, True):
        block.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            block(cells).float().square().mean().backward()
        gradients.append(block.conv2.weight.grad.clone())
    assert (gradients[1] - gradients[0]).norm() < 0.05 * gradients[0].norm()
