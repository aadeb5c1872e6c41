"""Coordinates are centred in their own precision; colours of 0 to 255 become [0,1]."""

import numpy as np
import pytest
import torch

from lavis.common.errors import DataError
from lavis.processors.point_processors import PointEvalProcessor, PointTrainProcessor

RNG = np.random.default_rng(0)
LOCAL = np.concatenate([RNG.uniform(-0.4, 0.4, (300, 3)), RNG.random((300, 3))], axis=1)


def moved(offset, factor: float = 1.0) -> np.ndarray:
    cloud = LOCAL.copy()
    cloud[:, :3] = cloud[:, :3] * factor + offset
    return cloud


@pytest.mark.parametrize("resample", ["first", "fps"])
@pytest.mark.parametrize("cls", [PointEvalProcessor, PointTrainProcessor])
@pytest.mark.parametrize("offset", [(512345.0, 5654321.0, 112.0), (0.0, 1e9, 0.0)])
def test_the_place_of_an_object_changes_nothing(cls, resample, offset):
    processor = cls.from_config({"num_points": 200, "resample": resample})
    far, near = processor(moved(offset)), processor(LOCAL)
    assert far.dtype == torch.float32
    torch.testing.assert_close(far, near, atol=1e-5, rtol=0)


@pytest.mark.parametrize("factor", [1e-300, 1e-30, 1e-13, 1e20, 1e300])
@pytest.mark.parametrize("resample", ["first", "fps"])
def test_the_size_of_an_object_changes_nothing(factor, resample):
    processor = PointEvalProcessor.from_config({"num_points": 200, "resample": resample})
    torch.testing.assert_close(processor(moved(0.0, factor)), processor(LOCAL), atol=1e-5, rtol=0)


@pytest.mark.parametrize("factor", [1e-30, 1e-13, 1e20, 1e38])
def test_squares_beyond_float32_change_nothing_in_float32(factor):
    processor = PointEvalProcessor.from_config({"num_points": 200})
    scaled = processor(moved(0.0, factor).astype(np.float32))
    torch.testing.assert_close(scaled, processor(LOCAL), atol=1e-5, rtol=0)


def test_a_cloud_in_one_place_is_the_origin():
    processor = PointEvalProcessor.from_config({"num_points": 7, "use_color": False})
    for dtype in (np.float32, np.float64):
        assert not processor(np.full((5, 3), 5654321.1, dtype)).any()


def test_integers_are_coordinates():
    processor = PointEvalProcessor.from_config({"num_points": 300, "use_color": False})
    millimetres = np.rint(LOCAL[:, :3] * 1000).astype(np.int64)
    far = processor(millimetres + 5_654_321_000)
    torch.testing.assert_close(far, processor(millimetres), atol=1e-5, rtol=0)


def test_without_normalising_far_coordinates_are_refused():
    processor = PointEvalProcessor.from_config({"num_points": 300, "normalize": False})
    near = processor(LOCAL)
    np.testing.assert_array_equal(near, LOCAL.astype(np.float32))
    with pytest.raises(DataError, match=r"(?s)steps of 0\.5.*normalize"):
        processor(moved((512345.0, 5654321.0, 112.0)))


def test_named_fields_are_centred_likewise():
    processor = PointEvalProcessor.from_config({"num_points": 200, "resample": "fps"})
    label = np.arange(300)
    far = moved((512345.0, 5654321.0, 112.0))
    ours = processor({"xyz": far[:, :3], "rgb": far[:, 3:], "semantic_label": label})
    near = processor({"xyz": LOCAL[:, :3], "rgb": LOCAL[:, 3:], "semantic_label": label})
    torch.testing.assert_close(ours["point_cloud"], near["point_cloud"], atol=1e-5, rtol=0)
    assert torch.equal(ours["semantic_label"], near["semantic_label"])


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32", "float64"])
def test_colours_of_0_to_255_become_0_to_1(dtype):
    rgb = np.rint(LOCAL[:, 3:] * 255).astype(dtype)
    processor = PointEvalProcessor.from_config({"num_points": 300})
    done = processor({"xyz": LOCAL[:, :3], "rgb": rgb})["point_cloud"]
    np.testing.assert_allclose(done[:, 3:], rgb / 255, atol=1e-6)


@pytest.mark.parametrize("rgb", [RNG.uniform(-1, 1, (300, 3)), np.full((300, 3), 1.5)])
def test_other_colours_are_refused_with_the_range_unless_unused(rgb):
    cloud = np.concatenate([LOCAL[:, :3], rgb], axis=1)
    with pytest.raises(DataError, match=r"colours from -?\d"):
        PointEvalProcessor.from_config({"num_points": 300})(cloud)
    unused = PointEvalProcessor.from_config({"num_points": 300, "use_color": False})(cloud)
    assert unused.shape == (300, 3)


def test_normals_are_not_taken_for_colours():
    normals = LOCAL[:, 3:] - 0.5
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    with pytest.raises(DataError, match="normals"):
        PointEvalProcessor.from_config({})(np.concatenate([LOCAL[:, :3], normals], axis=1))
