"""Overlap of upright boxes against an independent calculation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lavis.datasets.download_scripts.rooms.boxes import UprightBox, penetration
from lavis.processors.point_transforms import rotation_xyz


def box(seed: int) -> UprightBox:
    rng = np.random.default_rng(seed)
    size = tuple(float(value) for value in rng.uniform(0.2, 1.5, 3))
    x, z, base = rng.uniform(-1, 1, 3)
    return UprightBox(float(x), float(z), float(base), size, float(rng.uniform(-4, 4)))


def inside(one: UprightBox, points: np.ndarray) -> np.ndarray:
    """Return which points [N,3] lie in a box."""
    centre = np.array([one.x, one.base + one.size[1] / 2, one.z])
    local = (points - centre) @ rotation_xyz(0.0, one.angle, 0.0)
    return (np.abs(local) <= np.array(one.size) / 2).all(1)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_boxes_that_share_points_penetrate(seed: int) -> None:
    first, second = box(seed), box(seed + 10**7)
    rng = np.random.default_rng(seed)
    low, high = first.aligned()
    points = rng.uniform(low, high, (4000, 3))
    shared = inside(first, points) & inside(second, points)
    if shared.any():
        assert penetration(first, second) > 0
    assert penetration(first, second) == pytest.approx(penetration(second, first))


def test_the_depth_of_aligned_boxes_is_their_overlap() -> None:
    first = UprightBox(0, 0, 0, (1, 1, 1))
    assert penetration(first, UprightBox(0.9, 0, 0, (1, 1, 1))) == pytest.approx(0.1)
    assert penetration(first, UprightBox(0, 0, 0.95, (1, 1, 1))) == pytest.approx(0.05)
    assert penetration(first, UprightBox(0, 1.2, 0, (1, 1, 1), np.pi / 2)) == pytest.approx(-0.2)


def test_a_box_turns_as_points_do() -> None:
    assert np.allclose(rotation_xyz(0.0, 0.3, 0.0) @ [0, 0, 1], [np.sin(0.3), 0, np.cos(0.3)])
    turned = UprightBox(1, 2, 0, (0.4, 1, 0.8), 0.7)
    x, z = turned.place(0.0, 0.4)
    assert np.allclose([x - 1, z - 2], 0.4 * np.array([np.sin(0.7), np.cos(0.7)]))
    low, high = turned.aligned()
    assert (low <= [1, 0, 2]).all()
    assert (high >= [1, 1, 2]).all()
