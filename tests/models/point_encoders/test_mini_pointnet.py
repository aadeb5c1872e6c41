"""The split mini-PointNet against the block as published, over the same parameters."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from lavis.models.point_encoders import mini_pointnet
from lavis.models.point_encoders.mini_pointnet import MiniPointNet


def published(module: MiniPointNet, neighborhood: Tensor) -> Tensor:
    """Run the layers one after another with the concatenation, on [B,G,S,C]."""
    batch_size, num_group, group_size, _ = neighborhood.shape
    points = neighborhood.flatten(0, 1).transpose(1, 2)  # [M,C,S]
    first = module.first_conv(points)
    maximum = first.max(dim=2, keepdim=True).values.expand(-1, -1, group_size)
    second = module.second_conv(torch.cat([maximum, first], dim=1))
    return second.max(dim=2).values.view(batch_size, num_group, -1)


@pytest.fixture(params=[(3, (128, 256, 512), 256), (6, (8, 12, 20), 10)])
def pair(request) -> tuple[MiniPointNet, MiniPointNet]:
    """Return two equal modules with BatchNorm parameters that are not trivial."""
    torch.manual_seed(0)
    module = MiniPointNet(*request.param)
    for norm in (module.first_conv[1], module.second_conv[1]):
        torch.nn.init.normal_(norm.weight, 1.0, 0.5)
        torch.nn.init.normal_(norm.bias)
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2.0)
    return module, copy.deepcopy(module)


def neighborhood_for(module: MiniPointNet, num_group: int = 10) -> Tensor:
    """Return seeded groups [2,G,8,C]."""
    generator = torch.Generator().manual_seed(3)
    return torch.randn(2, num_group, 8, module.first_conv[0].in_channels, generator=generator)


def test_eval_equals_the_published_block(pair):
    module, plain = (m.eval() for m in pair)
    neighborhood = neighborhood_for(module)
    expected = published(plain, neighborhood)
    torch.testing.assert_close(module(neighborhood), expected, rtol=1e-5, atol=5e-6)


@pytest.mark.parametrize("num_group", [1, 31, 32, 70])
def test_inference_in_parts_equals_the_whole(pair, num_group, monkeypatch):
    module = pair[0].eval()
    neighborhood = neighborhood_for(module, num_group)
    whole = module(neighborhood)
    with torch.no_grad():
        torch.testing.assert_close(module(neighborhood), whole, rtol=1e-5, atol=5e-6)
        monkeypatch.setattr(mini_pointnet, "_CPU_GROUPS", 3)
        torch.testing.assert_close(module(neighborhood), whole, rtol=1e-5, atol=5e-6)


@pytest.mark.parametrize("training", [True, False])
def test_gradients_and_statistics_equal_the_published_block(pair, training):
    module, plain = (m.double().train(training) for m in pair)
    neighborhood = neighborhood_for(module).double()
    split, expected = module(neighborhood), published(plain, neighborhood)
    torch.testing.assert_close(split, expected)
    split.square().sum().backward()
    expected.square().sum().backward()
    for (name, ours), theirs in zip(module.named_parameters(), plain.parameters()):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-7, atol=1e-7, msg=name)
    for (name, ours), theirs in zip(module.named_buffers(), plain.buffers()):
        torch.testing.assert_close(ours, theirs, msg=name)


def test_float32_training_stays_within_rounding(pair):
    module, plain = (m.train() for m in pair)
    neighborhood = neighborhood_for(module)
    torch.testing.assert_close(
        module(neighborhood), published(plain, neighborhood), rtol=1e-4, atol=1e-5
    )
