"""Crops, distortions and colour steps of scenes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lavis.common.errors import ConfigError
from lavis.processors.scene_transforms import (
    ColorContrast,
    ColorJitter,
    CropBox,
    CropSphere,
    Elastic,
    SceneEvalProcessor,
    SceneTrainProcessor,
)


def scene(count: int = 2000, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    xyz = rng.uniform([-3, 0, -2], [3, 2.5, 2], (count, 3)).astype(np.float32)
    rgb = rng.uniform(0.2, 0.6, (count, 3)).astype(np.float32)
    return {"xyz": xyz, "rgb": rgb, "instance_label": np.arange(count)}


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999), st.floats(0.3, 4))
def test_crops_keep_what_is_near_and_all_of_it(seed: int, size: float) -> None:
    points = scene(seed=seed)
    for crop in (CropBox(size), CropSphere(size / 2)):
        kept = crop(points, np.random.default_rng(seed))
        centre = points["xyz"][np.random.default_rng(seed).integers(2000)]
        away = points["xyz"] - centre
        inside = (
            np.abs(away[:, [0, 2]]).max(1) <= size / 2
            if isinstance(crop, CropBox)
            else np.square(away).sum(1) <= (size / 2) ** 2
        )
        assert kept["instance_label"].tolist() == np.flatnonzero(inside).tolist()
        assert len(kept["xyz"]) >= 1


def test_elastic_moves_neighbours_together_and_keeps_the_type() -> None:
    points = scene()
    points["xyz"][1] = points["xyz"][0] + 0.005
    moved = Elastic(0.4, 0.5)(points, np.random.default_rng(0))["xyz"]
    offset = moved - points["xyz"]
    assert moved.dtype == np.float32
    assert 0.01 < offset.std() < 0.5
    assert np.abs(offset[0] - offset[1]).max() < 0.02
    assert Elastic(0.4, 0.5, 0.0)(points, np.random.default_rng(0)) is points


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999))
def test_colours_stay_in_range(seed: int) -> None:
    points = scene(200, seed)
    for step in (ColorContrast(1.0), ColorJitter(0.5, 0.3)):
        rgb = step(points, np.random.default_rng(seed))["rgb"]
        assert 0 <= rgb.min() <= rgb.max() <= 1
        assert rgb.dtype == np.float32
        bare = {"xyz": points["xyz"]}
        assert step(bare, np.random.default_rng(seed)) == bare


def test_full_contrast_reaches_both_ends() -> None:
    class One:
        def random(self) -> float:
            return 1.0 if getattr(self, "asked", False) else setattr(self, "asked", True) or 0.0

    rgb = ColorContrast(1.0)(scene(), One())["rgb"]
    assert rgb.min() == pytest.approx(0)
    assert rgb.max() == pytest.approx(1)


def test_evaluation_moves_no_point() -> None:
    points = scene()
    out = SceneEvalProcessor.from_config({"num_points": 0})(points)
    np.testing.assert_array_equal(out["point_cloud"][:, :3], points["xyz"])
    few = SceneEvalProcessor.from_config({"num_points": 50})(points)
    np.testing.assert_array_equal(few["point_cloud"][:, :3], points["xyz"][:50])


def test_training_is_seeded_and_keeps_metres() -> None:
    processor = SceneTrainProcessor.from_config({"num_points": 500, "crop": "box"})
    once, again, other = (processor(scene(), np.random.default_rng(s)) for s in (1, 1, 2))
    assert (once["point_cloud"] == again["point_cloud"]).all()
    assert (once["point_cloud"] != other["point_cloud"]).any()
    whole = SceneTrainProcessor.from_config({"num_points": 500, "elastic_probability": 0.0})
    height = np.ptp(whole(scene(), np.random.default_rng(0))["point_cloud"][:, 1].numpy())
    assert 2.0 < height < 2.9


@pytest.mark.parametrize(
    ("key", "value"),
    [("crop", "ring"), ("crop_size", 0.0), ("elastic_cell", -1.0), ("contrast", 1.5)],
)
def test_values_out_of_range_name_their_key(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"scene_train.{key}"):
        SceneTrainProcessor.from_config({key: value})
