"""The maximum before the last ReLU against the plain order."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lavis.models.point_encoders.folding import group_max, pooled_mlp, shared_mlp


@pytest.mark.parametrize("training", [True, False])
def test_the_maximum_before_the_last_relu_changes_nothing(training):
    """Equal points, as balls repeat them, share the maximum."""
    torch.manual_seed(0)
    convs = nn.ModuleList([nn.Conv2d(4, 8, 1), nn.Conv2d(8, 6, 1)]).double()
    norms = nn.ModuleList([nn.BatchNorm2d(8), nn.BatchNorm2d(6)]).double().train(training)
    points = torch.randn(2, 3, 5, 4, dtype=torch.float64)
    points[:, :, 3:] = points[:, :, :1]
    weight = torch.randn(2, 3, 6, dtype=torch.float64)
    found = []
    for pooled in (lambda x: shared_mlp(x, convs, norms).amax(2), None):
        values = pooled(points) if pooled else pooled_mlp(points, convs, norms)
        parameters = [*convs.parameters(), *norms.parameters()]
        found.append([values, *torch.autograd.grad((values * weight).sum(), parameters)])
    for plain, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-10, atol=1e-12)
    assert found[0][0].count_nonzero() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gradient_of_a_maximum_is_that_of_amax(dtype):
    """Also where points of a group are equal, and the gradient is divided among them."""
    torch.manual_seed(0)
    points = torch.randn(7, 5, 6).to(dtype)
    points[:, 3:] = points[:, :1]
    plain, ours = (points.clone().requires_grad_() for _ in range(2))
    weight = torch.randn(7, 6).to(dtype)
    assert torch.equal(group_max(ours), plain.amax(1))
    plain.amax(1).backward(weight)
    group_max(ours).backward(weight)
    assert torch.equal(ours.grad, plain.grad)
    assert torch.equal(group_max(points), points.amax(1))
