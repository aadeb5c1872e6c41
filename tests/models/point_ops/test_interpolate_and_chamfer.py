"""Interpolation and chamfer distance against dense formulas in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lavis.common.errors import ConfigError, ShapeError
from lavis.models.point_ops import chamfer_distance, three_interpolate, three_nearest

BACKENDS = ["torch", "numba"]
FEW = settings(max_examples=15, deadline=None)
COUNTS = st.integers(1, 60)


def _clouds(seed, *counts):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, count, 3, generator=generator) for count in counts]


@pytest.mark.parametrize("backend", BACKENDS)
@FEW
@given(seed=st.integers(0, 999), known=COUNTS, wanted=COUNTS, power=st.sampled_from([1, 2]))
def test_interpolation_equals_the_formula(backend, seed, known, wanted, power):
    xyz, query, features = _clouds(seed, known, wanted, known)
    index, weight = three_nearest(query, xyz, backend, power=power)
    mixed = three_interpolate(features, index, weight)
    distance = torch.cdist(
        query.double(), xyz.double(), compute_mode="donot_use_mm_for_euclid_dist"
    )
    least, nearest = distance.topk(min(3, known), largest=False)
    inverse = 1 / (least**power + 1e-8)
    share = torch.zeros_like(distance).scatter(2, nearest, inverse / inverse.sum(-1, keepdim=True))
    # Weights are quotients of float32 squares: relative errors of a few 1e-7, more when a
    # distance is itself a difference of close numbers.
    torch.testing.assert_close(mixed.double(), share @ features.double(), atol=1e-4, rtol=1e-4)


def test_known_points_keep_their_features_and_gradients_reach_them():
    xyz, _ = _clouds(0, 20, 1)
    features = torch.rand(2, 20, 5, requires_grad=True)
    index, weight = three_nearest(xyz, xyz)
    mixed = three_interpolate(features, index, weight)
    torch.testing.assert_close(mixed, features, atol=1e-4, rtol=0)
    mixed.sum().backward()
    assert bool((features.grad > 0).all())


def test_interpolation_refuses_what_does_not_fit():
    xyz, query = _clouds(0, 9, 4)
    index, weight = three_nearest(query, xyz)
    with pytest.raises(ShapeError, match="do not fit"):
        three_interpolate(torch.rand(2, 9, 5), index, weight[..., :2])
    with pytest.raises(ShapeError, match="power"):
        three_nearest(query, xyz, power=3)
    with pytest.raises(ShapeError, match="expected"):
        three_nearest(query, xyz[..., :2])


def _dense_chamfer(first, second, norm):
    distance = (first.double()[:, :, None] - second.double()[:, None]).square().sum(-1)
    near = [distance.amin(2), distance.amin(1)]
    if norm == "l2":
        return near[0].mean(1) + near[1].mean(1)
    return (near[0].sqrt().mean(1) + near[1].sqrt().mean(1)) / 2


@pytest.mark.parametrize("norm", ["l2", "l1"])
@pytest.mark.parametrize("backend", BACKENDS)
@FEW
@given(seed=st.integers(0, 999), first=COUNTS, second=COUNTS)
def test_chamfer_and_its_gradient_equal_the_dense_formula(backend, norm, seed, first, second):
    results = []
    for distance in (lambda a, b: chamfer_distance(a, b, norm, backend), None):
        one, two = (cloud.requires_grad_() for cloud in _clouds(seed, first, second))
        value = distance(one, two) if distance else _dense_chamfer(one, two, norm)
        value.sum().backward()
        results.append((value.double(), one.grad, two.grad))
    for ours, dense in zip(*results):
        torch.testing.assert_close(ours, dense, atol=1e-5, rtol=1e-4)


def test_chamfer_of_a_cloud_with_itself_is_zero_with_finite_gradient():
    cloud = torch.rand(2, 30, 3, requires_grad=True)
    value = chamfer_distance(cloud, cloud.detach().flip(1), "l1")
    value.sum().backward()
    assert value.tolist() == [0.0, 0.0]
    assert bool((cloud.grad == 0).all())


def test_chamfer_ignores_padding():
    first, second = _clouds(1, 20, 30)
    expected = chamfer_distance(first[:, :12], second[:, :7])
    first[:, 12:], second[:, 7:] = float("nan"), float("nan")
    first.requires_grad_()
    lengths = {"first_lengths": torch.tensor([12, 12]), "second_lengths": torch.tensor([7, 7])}
    value = chamfer_distance(first, second, **lengths)
    torch.testing.assert_close(value, expected)
    value.sum().backward()
    assert bool(torch.isfinite(first.grad).all())


def test_chamfer_refuses_bad_input():
    first, second = _clouds(0, 5, 6)
    with pytest.raises(ConfigError, match="Did you mean 'l1'"):
        chamfer_distance(first, second, "L1")
    with pytest.raises(ShapeError, match="same batch size"):
        chamfer_distance(first[:1], second)
    with pytest.raises(ShapeError, match="second"):
        chamfer_distance(first, second[..., :2])
