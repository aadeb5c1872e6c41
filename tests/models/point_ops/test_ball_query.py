"""Ball query against a loop written from the published rule."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lavis.common.errors import ShapeError
from lavis.models.point_ops import ball_query

BACKENDS = ["torch", "numba"]


def slow_ball_query(query, points, radius, k):
    """First k indices inside the open ball; the first one fills up; 0 for an empty ball."""
    inside = [
        i for i, point in enumerate(points) if float((point - query).square().sum()) < radius**2
    ][:k]
    return inside + [inside[0] if inside else 0] * (k - len(inside))


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 999),
    num_points=st.integers(1, 140),
    k=st.integers(1, 40),
    radius=st.sampled_from([0.25, 0.5, 1.0, 1.5, 9.0]),
)
def test_equals_the_definition(tied_clouds, backend, seed, num_points, k, radius):
    xyz = tied_clouds(seed, 2, num_points)
    query = torch.cat([xyz[:, :2], torch.full((2, 1, 3), 5.0)], dim=1)  # and one that is far away
    found = ball_query(query, xyz, radius, k, backend)
    for row in range(2):
        expected = [slow_ball_query(q, xyz[row], radius, k) for q in query[row]]
        assert found[row].tolist() == expected


@pytest.mark.parametrize("backend", BACKENDS)
def test_padding_follows_the_published_rule(backend):
    xyz = torch.tensor([[[9.0, 0, 0], [0, 0, 0], [1, 0, 0], [2, 0, 0], [0.5, 0, 0]]])
    query = torch.tensor([[[0.0, 0, 0], [30, 0, 0]]])
    # The sphere itself is outside; indices ascend, distances do not matter; empty gives point 0.
    assert ball_query(query, xyz, 1.0, 4, backend).tolist() == [[[1, 4, 1, 1], [0, 0, 0, 0]]]
    assert ball_query(query, xyz, 2.5, 2, backend).tolist() == [[[1, 2], [0, 0]]]
    assert ball_query(query[:, :1], xyz[:, :1], 20, 3, backend).tolist() == [[[0, 0, 0]]]


@pytest.mark.parametrize("radius", [0, -1.0, float("nan"), float("inf"), "1", True])
def test_bad_radii_are_refused(radius):
    with pytest.raises(ShapeError, match="radius"):
        ball_query(torch.rand(1, 2, 3), torch.rand(1, 5, 3), radius, 2)


@pytest.mark.parametrize("k", [0, 1.5, True])
def test_bad_counts_are_refused(k):
    with pytest.raises(ShapeError, match="k does not fit"):
        ball_query(torch.rand(1, 2, 3), torch.rand(1, 5, 3), 0.5, k)
