"""Correspondence of points and pixels: rendered frames, any camera, and a real stereo frame."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lavis.common.errors import DataError
from lavis.datasets.fields.frames import FrameLoader, FrameStore, RgbdFrame
from lavis.datasets.fields.points import PointLoader
from lavis.datasets.rendering.cameras import Camera, look_at
from lavis.processors.scene_transforms import SceneTrainProcessor

HALF_PIXEL = 0.5


def camera(seed: int, width: int = 40, height: int = 30) -> Camera:
    """A camera somewhere, with an axis off the middle and two focal lengths."""
    rng = np.random.default_rng(seed)
    seen_by = look_at(rng.normal(size=3) * 4, rng.normal(size=3), width=width, height=height)
    return dataclasses.replace(
        seen_by,
        focal=rng.uniform(0.4, 2.0, 2) * width,
        axis=np.array([width, height]) * rng.uniform(0.3, 0.7, 2),
    )


def frame(seed: int, **changes) -> RgbdFrame:
    """A frame of random depths, a third of them unknown."""
    rng = np.random.default_rng(seed)
    seen_by = changes.pop("camera", camera(seed))
    size = (seen_by.height, seen_by.width)
    depth = rng.uniform(0.2, 9, size).astype(np.float32)
    depth[rng.random(size) < 0.3] = rng.choice([0, np.nan, np.inf])
    label = rng.integers(-1, 5, size)
    rgb = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    parts = {"rgb": rgb, "depth": depth, "semantic": label, "instance": label} | changes
    return RgbdFrame(f"frame {seed}", camera=seen_by, **parts)


def error_of(seen_by: Camera, xyz: np.ndarray, pixels: np.ndarray) -> float:
    """Return the largest distance, in pixels, of points from the centres of their pixels."""
    found, depth = seen_by.project(xyz.astype(np.float64))
    assert (depth > 0).all()
    return float(np.abs(found - (pixels + 0.5)).max())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_a_point_lands_in_its_pixel(seed: int) -> None:
    one = frame(seed)
    points = one.points()
    assert error_of(one.camera, points["xyz"], points["pixel_of_point"]) < 0.05
    columns, rows = points["pixel_of_point"].T
    assert (points["semantic_label"] == one.semantic[rows, columns]).all()
    np.testing.assert_allclose(points["rgb"], one.rgb[rows, columns] / 255, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(8, 90), st.integers(8, 90))
def test_it_does_in_frames_of_another_size(seed: int, width: int, height: int) -> None:
    small = frame(seed).resized(width, height)
    assert small.rgb.shape == (height, width, 3)
    points = small.points()
    assert error_of(small.camera, points["xyz"], points["pixel_of_point"]) < HALF_PIXEL


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_pixels_follow_their_points_through_training_transforms(seed: int) -> None:
    one = frame(seed)
    turning = {"num_points": 300, "scale_low": 1.0, "scale_high": 1.0, "jitter_sigma": 0.0}
    processor = SceneTrainProcessor.from_config({**turning, "elastic_probability": 0.0})
    out = processor(one.points(), np.random.default_rng(seed))
    columns, rows = out["pixel_of_point"].numpy().T
    assert (out["instance_label"].numpy() == one.instance[rows, columns]).all()
    # Turned about the up axis alone: heights and distances from that axis tell the point.
    pixels = np.stack([columns, rows], 1) + 0.5
    there = one.camera.back_project(pixels, one.depth[rows, columns].astype(np.float64))
    xyz = out["point_cloud"][:, :3].numpy()
    np.testing.assert_allclose(xyz[:, 1], there[:, 1], atol=1e-4)
    np.testing.assert_allclose(
        np.hypot(xyz[:, 0], xyz[:, 2]), np.hypot(there[:, 0], there[:, 2]), atol=1e-4
    )


def test_a_real_stereo_frame() -> None:
    """Middlebury's motorcycle as scikit-image ships it: 500 x 741, unknown disparities infinite."""
    data = pytest.importorskip("skimage.data")
    left, right, disparity = data.stereo_motorcycle()
    focal, baseline = 994.978, 0.193001  # pixels and metres, of its documentation
    axis = np.array([311.193, 254.877]) + 0.5  # its pixel centres are whole numbers
    depth = focal * baseline / (disparity + 31.086)  # metres
    seen_by = Camera(np.zeros(3), np.eye(3), focal, 741, 500, axis)
    one = RgbdFrame("motorcycle", left, depth.astype(np.float32), seen_by)
    points = one.points()
    assert len(points["xyz"]) == np.isfinite(disparity).sum() > 300_000
    assert error_of(seen_by, points["xyz"], points["pixel_of_point"]) < HALF_PIXEL
    small = one.resized(320, 240)
    again = small.points()
    assert error_of(small.camera, again["xyz"], again["pixel_of_point"]) < HALF_PIXEL
    # Seen from the right camera, a point is where its disparity says.
    other = Camera(
        np.array([baseline, 0, 0]), np.eye(3), focal, 741, 500, axis + np.array([31.086, 0])
    )
    found, _ = other.project(points["xyz"].astype(np.float64))
    columns, rows = points["pixel_of_point"].T
    expected = columns + 0.5 - disparity[rows, columns]
    assert np.abs(found[:, 0] - expected).max() < HALF_PIXEL
    inside = (found[:, 0] > 0) & (found[:, 0] < 741)
    matched = right[rows[inside], found[inside, 0].astype(int)].astype(float)
    difference = np.abs(matched - left[rows[inside], columns[inside]]).mean()
    assert difference < 0.5 * np.abs(right.astype(float) - left).mean()  # the same surfaces


def test_frames_load_as_samples_with_their_camera() -> None:
    class Two:
        def frame(self, object_id: str) -> RgbdFrame:
            return frame(int(object_id))

    store = FrameStore(Two(), size=(20, 16), num_points=50)
    record, rng = {"object_id": "7"}, np.random.default_rng(0)
    sample = PointLoader(store, SceneTrainProcessor.from_config({"num_points": 30})).load(
        record, rng
    )
    sample |= FrameLoader(store).load(record, rng)
    assert sample["image"].shape == (1, 3, 16, 20)
    assert sample["pixel_of_point"].shape == (30, 2)
    assert sample["pose"].shape == (4, 4)
    assert torch.det(sample["pose"]).item() == pytest.approx(1, abs=1e-5)
    again = store.load_points("7")
    assert np.array_equal(again["xyz"], FrameStore(Two(), (20, 16), 50).load_points("7")["xyz"])


def test_frames_that_cannot_be_used_are_named() -> None:
    size = (30, 40)
    with pytest.raises(DataError, match=r"(?s)frame 3.*depth \[20, 40\]"):
        frame(3, depth=np.ones((20, 40), np.float32))
    with pytest.raises(DataError, match=r"(?s)differ in size.*semantic_label \[30, 41\]"):
        frame(3, semantic=np.zeros((30, 41), int))
    for nothing in (np.zeros(size), np.full(size, np.nan), np.full(size, np.inf)):
        with pytest.raises(DataError, match=r"(?s)no points in view.*frame 3"):
            frame(3, depth=nothing.astype(np.float32))
