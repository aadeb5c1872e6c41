"""Ranges of colours and the precision of coordinates."""

import numpy as np
import pytest

from lavis.datasets.readers.values import (
    coordinate_problem,
    native_float,
    rounding_problem,
    unit_colors,
)

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (50, 3))
NORMALS = RNG.standard_normal((50, 3))
NORMALS /= np.linalg.norm(NORMALS, axis=1, keepdims=True)


@pytest.mark.parametrize("dtype", ["uint8", "int64", "uint16", "float32", "float64"])
def test_colours_of_0_to_255_are_divided_by_255(dtype):
    colors = unit_colors(BYTES.astype(dtype))
    assert colors.rgb.dtype == np.float32
    np.testing.assert_allclose(colors.rgb, BYTES / 255, atol=1e-7)
    assert colors.rgb.max() <= 1
    assert list(colors.notes) == ["bytes"]


def test_averaged_bytes_are_bytes():
    assert unit_colors(BYTES + 0.5 * (BYTES < 255)).rgb.max() == 1


def test_dark_bytes_are_bytes_by_their_type():
    assert unit_colors(np.ones((4, 3), np.uint8)).rgb.max() == np.float32(1 / 255)


def test_colours_in_range_are_the_same_array():
    rgb = RNG.random((50, 3)).astype(np.float32)
    colors = unit_colors(rgb)
    assert np.shares_memory(colors.rgb, rgb)
    assert not colors.notes


def test_rounding_beside_the_range_is_cut():
    colors = unit_colors(np.array([[-1e-5, 0.5, 1 + 1e-5]]))
    np.testing.assert_array_equal(colors.rgb, np.float32([[0, 0.5, 1]]))


def test_normals_are_no_colours():
    colors = unit_colors(NORMALS)
    assert colors.rgb is None
    assert "normals" in colors.notes


@pytest.mark.parametrize(
    ("rgb", "message"),
    [
        (RNG.uniform(-1, 1, (50, 3)), r"from -0\.\d+ to 0\.\d+"),
        (np.full((5, 3), 1.7), "from 1.7 to 1.7"),
        (np.full((5, 3), 300), "from 300 to 300"),
        (np.full((5, 3), 65535, np.uint16), "65535"),
        (np.full((5, 3), np.nan), "nan"),
        (np.full((5, 3), "red"), "type"),
    ],
)
def test_other_ranges_are_refused_with_the_range(rgb, message):
    with pytest.raises(ValueError, match=message):
        unit_colors(rgb)


@pytest.mark.parametrize(
    ("xyz", "problem"),
    [
        (np.zeros((3, 3)), "one place"),
        (np.zeros((0, 3)), "no points"),
        (np.zeros((3, 4)), "shape"),
        (np.full((3, 3), np.nan), "NaN"),
        (np.array([[0, 0, 0], [np.inf, 0, 0]]), "infinity"),
        (np.array([[0, 0, 0], [1e300, 0, 0]]), "beyond float32"),
        (np.array([[-1.7e308, 0, 0], [1.7e308, 0, 0]]), "beyond float32"),
        (np.array([[5654321, 0, 0], [5654321.5, 0, 0]], np.float32), "steps of 0.5"),
        (np.array([[2**60, 0, 0], [2**60 + 300, 0, 0]]), "steps"),
    ],
)
def test_coordinates_that_mean_nothing_are_refused(xyz, problem):
    assert problem in coordinate_problem(xyz)


@pytest.mark.parametrize(
    "xyz",
    [
        np.ones((1, 3)),
        np.array([[5654321, 0, 0], [5654321.5, 0, 0]]),
        np.array([[0, 0, 0], [1, 2, 3]], np.uint8),
        np.array([[5_654_321_000, 0, 0], [5_654_321_800, 0, 0]]),
        np.random.default_rng(0).uniform(-1, 1, (9, 3)).astype(np.float16),
        np.array([[0, 0, 0], [1e30, 1e30, 0]], np.float32),
        np.array([[0, 0, 0], [1e-30, 1e-30, 0]]),
    ],
)
def test_coordinates_are_judged_in_their_own_precision(xyz):
    assert coordinate_problem(xyz) is None


def test_far_coordinates_cannot_become_float32_as_they_are():
    far = np.array([[5654321, 0, 0], [5654321.5, 0, 0]])
    assert "steps of 0.5" in rounding_problem(far)
    assert rounding_problem(far - far[0]) is None
    assert "beyond float32" in rounding_problem(np.array([[1e300, 0, 0], [0, 0, 0]]))


def test_only_types_that_float32_holds_exactly_become_float32():
    kinds = {kind: native_float(np.zeros(1, kind)).dtype for kind in ("f2", "f4", "f8", "u1", "i8")}
    assert kinds == {"f2": "f4", "f4": "f4", "f8": "f8", "u1": "f4", "i8": "f8"}
