"""Point processors: properties of each step, determinism, options."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lavis.common.errors import ConfigError, DataError, ShapeError
from lavis.processors.point_processors import PointEvalProcessor, PointTrainProcessor
from lavis.processors.point_transforms import (
    DropColor,
    DropPoints,
    Jitter,
    Normalize,
    PointFields,
    Resample,
    RotateUp,
    Scale,
    SelectColor,
    Shift,
    split_columns,
)


@pytest.fixture
def cloud() -> np.ndarray:
    """A coloured cloud [200,6], off centre."""
    rng = np.random.default_rng(0)
    xyz = rng.normal(2.0, 3.0, (200, 3))
    return np.concatenate([xyz, rng.random((200, 3))], axis=1).astype(np.float32)


@pytest.fixture
def points(cloud: np.ndarray) -> PointFields:
    """The same cloud as named fields."""
    return split_columns(cloud)


@pytest.fixture
def rng() -> np.random.Generator:
    """A seeded generator."""
    return np.random.default_rng(1)


@settings(max_examples=25, deadline=None)
@given(available=st.integers(1, 50), wanted=st.integers(1, 50), columns=st.sampled_from([3, 6]))
def test_any_cloud_gets_the_asked_shape_inside_the_sphere(
    available: int, wanted: int, columns: int
) -> None:
    points = np.random.default_rng(available).random((available, columns))
    for cls in (PointTrainProcessor, PointEvalProcessor):
        processor = cls.from_config({"num_points": wanted, "missing_color": 0.5})
        out = processor(points, rng=np.random.default_rng(0))
        assert out.shape == (wanted, 6)
        assert out.dtype == torch.float32
        assert torch.isfinite(out).all()
    assert out[:, :3].norm(dim=1).max() <= 1 + 1e-5


def test_normalize_centres_and_scales_to_one(points, rng) -> None:
    out = Normalize()(points, rng)
    np.testing.assert_allclose(out["xyz"].mean(axis=0), 0, atol=1e-5)
    assert np.linalg.norm(out["xyz"], axis=1).max() == pytest.approx(1, abs=1e-5)
    np.testing.assert_array_equal(out["rgb"], points["rgb"])


def test_rotation_keeps_height_distances_and_handedness(points, rng) -> None:
    xyz, out = points["xyz"], RotateUp(180.0)(points, rng)["xyz"]
    np.testing.assert_array_equal(out[:, 1], xyz[:, 1])
    assert not np.allclose(out[:, 0], xyz[:, 0])
    radius = np.hypot(xyz[:, 0], xyz[:, 2])
    np.testing.assert_allclose(np.hypot(out[:, 0], out[:, 2]), radius, rtol=1e-4)
    assert np.sign(np.linalg.det(out[:3])) == np.sign(np.linalg.det(xyz[:3]))


def test_normals_turn_with_the_cloud(points, rng) -> None:
    turned = RotateUp(180.0)({**points, "normal": points["xyz"]}, rng)
    np.testing.assert_array_equal(turned["normal"], turned["xyz"])
    moved = Shift(0.5)({**points, "normal": points["xyz"]}, rng)
    np.testing.assert_array_equal(moved["normal"], points["xyz"])


def test_scale_shift_jitter_stay_in_their_ranges(points, rng) -> None:
    xyz = points["xyz"]
    factor = Scale(0.8, 1.25)(points, rng)["xyz"] / xyz
    np.testing.assert_allclose(factor, factor[0, 0], rtol=1e-5)
    assert 0.8 <= factor[0, 0] <= 1.25
    offset = Shift(0.1)(points, rng)["xyz"] - xyz
    assert np.abs(offset).max() <= 0.1 + 1e-6
    np.testing.assert_allclose(offset, np.broadcast_to(offset[0], offset.shape), atol=2e-6)
    noise = Jitter(1.0, 0.05)(points, rng)["xyz"] - xyz
    assert 0.049 < np.abs(noise).max() <= 0.05 + 2e-6


def test_dropped_points_become_the_first(points) -> None:
    out = DropPoints(0.9)(points, np.random.default_rng(3))
    changed = (out["xyz"] != points["xyz"]).any(axis=1)
    assert changed.any()
    for name, values in points.items():
        expected = np.repeat(values[:1], changed.sum(), axis=0)
        np.testing.assert_array_equal(out[name][changed], expected)


def test_colour_drop_is_all_or_nothing(points) -> None:
    always = DropColor(1.0, 0.4)(points, np.random.default_rng(0))
    assert (always["rgb"] == np.float32(0.4)).all()
    assert DropColor(0.0)(points, np.random.default_rng(0)) is points


def test_random_resampling_draws_without_replacement(points, rng) -> None:
    out = Resample(150, "random")(points, rng)
    assert len(np.unique(out["xyz"], axis=0)) == 150


def test_first_and_fps_are_fixed_and_fps_spreads(points, rng) -> None:
    first = Resample(20, "first")(points, rng)["xyz"]
    np.testing.assert_array_equal(first, points["xyz"][:20])
    spread = Resample(20, "fps")(points, rng)["xyz"]
    again = Resample(20, "fps")(points, np.random.default_rng(9))["xyz"]
    np.testing.assert_array_equal(spread, again)

    def nearest(xyz: np.ndarray) -> float:
        distance = np.linalg.norm(xyz[:, None] - xyz[None, :], axis=-1)
        return distance[~np.eye(len(xyz), dtype=bool)].min()

    assert nearest(spread) > 2 * nearest(first)


def test_colour_fields(points, rng) -> None:
    assert set(SelectColor(False)(points, rng)) == {"xyz"}
    grey = {"xyz": points["xyz"]}
    filled = SelectColor(True, 0.4)(grey, rng)
    assert (filled["rgb"] == np.float32(0.4)).all()
    with pytest.raises(DataError, match="missing_color"):
        SelectColor(True, None)(grey, rng)


def test_training_follows_the_generator_and_evaluation_ignores_it(cloud) -> None:
    train = PointTrainProcessor.from_config({"num_points": 64, "jitter_sigma": 0.01})
    same = [train(cloud, rng=np.random.default_rng(5)) for _ in range(2)]
    assert torch.equal(*same)
    assert not torch.equal(same[0], train(cloud, rng=np.random.default_rng(6)))
    evaluate = PointEvalProcessor.from_config({"num_points": 64})
    assert torch.equal(evaluate(cloud, rng=np.random.default_rng(5)), evaluate(cloud))


def test_input_is_left_as_it_is(cloud) -> None:
    before = cloud.copy()
    options = {"num_points": 200, "drop_max": 0.8, "jitter_sigma": 0.1, "color_drop": 1.0}
    PointTrainProcessor.from_config(options)(cloud, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(cloud, before)


@pytest.mark.parametrize("shape", [(5,), (0, 3), (4, 5), (2, 3, 3)])
def test_wrong_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="got something else"):
        PointEvalProcessor.from_config()(np.zeros(shape))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_point": 5}, "num_points"),
        ({"num_points": "5"}, "wrong type"),
        ({"num_points": 0}, "out of range"),
        ({"scale_low": 2.0}, "scale_low"),
        ({"color_drop": 1.5}, "color_drop"),
        ({"resample": "fsp"}, "fps"),
        ({"missing_color": 7}, "missing_color"),
        ({"use_color": 1}, "bool"),
    ],
)
def test_bad_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PointTrainProcessor.from_config(options)
