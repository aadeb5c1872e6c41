"""Compiled convolution against gather, matrix product and scatter, and against dense conv3d."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from lavis.common.errors import ShapeError
from lavis.models.voxel_ops import KernelMap, coarsen, neighbours, sparse_conv, voxelize
from lavis.models.voxel_ops.convolution import gather_scatter


def make_maps(seed: int = 0, count: int = 400) -> dict[str, KernelMap]:
    generator = torch.Generator().manual_seed(seed)
    xyz = torch.rand(count, 3, generator=generator)
    cloud = torch.arange(count) // (count // 2)
    grid, _ = voxelize(xyz, cloud, 0.12)
    down = coarsen(grid)[1]
    return {"near": neighbours(grid), "down": down, "up": down.transposed}


def draw(maps: KernelMap, wide: int, out: int, seed: int = 0) -> list[torch.Tensor]:
    """Return features [M',C], weights [K,C,D] and a bias [D], with gradients."""
    generator = torch.Generator().manual_seed(seed)
    offsets = maps.table.shape[1]
    shapes = [(len(maps.back), wide), (offsets, wide, out), (out,)]
    scales = [1.0, (9 * wide) ** -0.5, 1.0]
    tensors = [torch.randn(s, generator=generator) * k for s, k in zip(shapes, scales)]
    return [tensor.requires_grad_() for tensor in tensors]


@pytest.mark.parametrize("kind", ["near", "down", "up"])
@pytest.mark.parametrize(("wide", "out"), [(1, 1), (7, 16), (32, 24), (33, 5)])
def test_values_and_gradients_equal_gather_scatter(kind, wide, out):
    maps = make_maps()[kind]
    inputs = draw(maps, wide, out)
    ours = sparse_conv(*inputs[:2], maps, inputs[2])
    expected = gather_scatter(*inputs[:2], maps.table, inputs[2])
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)
    toward = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1))
    gradients = torch.autograd.grad(ours, inputs, toward)
    for mine, theirs in zip(gradients, torch.autograd.grad(expected, inputs, toward)):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


def test_a_full_grid_equals_conv3d():
    line = torch.arange(5) + 0.5
    grid, cell = voxelize(torch.cartesian_prod(line, line, line), torch.zeros(125).long(), 1.0)
    assert torch.equal(cell, torch.arange(125))
    x, weight, bias = draw(neighbours(grid), 4, 6)
    dense = weight.view(3, 3, 3, 4, 6).permute(4, 3, 0, 1, 2)
    expected = F.conv3d(x.T.view(1, 4, 5, 5, 5), dense, bias, padding=1)
    ours = sparse_conv(x, weight, neighbours(grid), bias)
    torch.testing.assert_close(ours, expected[0].flatten(1).T, rtol=1e-5, atol=1e-5)


def test_gradients_in_double_precision():
    maps = make_maps(count=40)["near"]
    inputs = [tensor.detach().double().requires_grad_() for tensor in draw(maps, 2, 3)]
    torch.autograd.gradcheck(lambda x, w, b: sparse_conv(x, w, maps, b), inputs)


def test_threads_change_nothing():
    maps = make_maps()["near"]
    inputs = draw(maps, 8, 8)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            out = sparse_conv(*inputs[:2], maps)
            results.append([out, *torch.autograd.grad(out.square().sum(), inputs[:2])])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, three) for one, three in zip(*results))


def test_only_what_is_needed_gets_a_gradient():
    maps = make_maps()["down"]
    x, weight, _ = draw(maps, 3, 4)
    sparse_conv(x.detach(), weight, maps).sum().backward()
    assert weight.grad is not None
    with torch.no_grad():
        assert not sparse_conv(x, weight, maps).requires_grad


def test_half_precision_is_computed_in_single():
    maps = make_maps()["near"]
    x, weight, _ = (tensor.detach() for tensor in draw(maps, 4, 4))
    ours = sparse_conv(x.bfloat16(), weight, maps)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, sparse_conv(x.bfloat16().float(), weight, maps))


@pytest.mark.parametrize("wrong", ["width", "rows", "offsets", "rank"])
def test_shapes_that_do_not_fit_are_refused(wrong):
    maps = make_maps()["near"]
    x, weight, _ = draw(maps, 4, 4)
    x = {"width": x[:, :3], "rows": x[1:], "rank": x[None]}.get(wrong, x)
    weight = weight[:8] if wrong == "offsets" else weight
    with pytest.raises(ShapeError, match="do not fit"):
        sparse_conv(x, weight, maps)
