"""The published systems' transforms against their own steps, written out in plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lavis.common.errors import ConfigError
from lavis.processors import load_processor
from lavis.processors.point_transforms import rotation_xyz

SYSTEMS = ("pointblip", "openshape", "mixcon3d", "pointllm")


def cloud(columns: int = 6, points: int = 50) -> np.ndarray:
    rng = np.random.default_rng(3)
    xyz = rng.normal(2.0, 3.0, (points, 3))
    return np.concatenate([xyz, rng.random((points, columns - 3))], 1).astype(np.float32)


def unit(xyz: np.ndarray) -> np.ndarray:
    xyz = xyz - xyz.mean(0)
    return xyz / np.linalg.norm(xyz, axis=1).max()


def augmented(points: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Drop, scale, shift, tilt, turn about up, as ULIP's and OpenShape's augment_pc do."""
    count = len(points)
    points = points[rng.permutation(count)]
    xyz = unit(points[:, :3].astype(np.float64))
    dropped = rng.random(count) < rng.uniform(0, 0.875)
    kept = np.where(dropped, 0, np.arange(count))
    xyz = xyz[kept] * rng.uniform(0.8, 1.25) + rng.uniform(-0.1, 0.1, 3)
    tilt = np.clip(0.06 * rng.standard_normal(3), -0.18, 0.18)
    xyz = xyz @ rotation_xyz(*tilt).T
    angle = np.deg2rad(rng.uniform(-180, 180))
    return xyz @ rotation_xyz(0.0, angle, 0.0).T, points[kept, 3:]


def drawing() -> tuple[np.random.Generator, np.random.Generator]:
    return np.random.default_rng(5), np.random.default_rng(5)


def test_pointblip_augments_xyz_in_the_release_order() -> None:
    own, rng = drawing()
    out = load_processor("point_pointblip_train", {"num_points": 50})(cloud(), rng=own).numpy()
    expected, _ = augmented(cloud(), rng)
    assert np.allclose(out, expected, atol=1e-5)


@pytest.mark.parametrize("name", ["openshape", "mixcon3d"])
def test_openshape_and_mixcon3d_also_drop_the_colour_of_half_of_the_clouds(name: str) -> None:
    process = load_processor(f"point_{name}_train", {"num_points": 50})
    own, rng = drawing()
    out = process(cloud(), rng=own).numpy()
    xyz, rgb = augmented(cloud(), rng)
    assert np.allclose(out[:, :3], xyz, atol=1e-5)
    rgb = np.full_like(rgb, 0.4) if rng.random() < 0.5 else rgb
    assert np.allclose(out[:, 3:], rgb, atol=1e-6)
    grey = [
        bool((process(cloud(), rng=np.random.default_rng(seed))[:, 3:] == 0.4).all())
        for seed in range(60)
    ]
    assert 20 <= sum(grey) <= 40


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_pointllm_normalises_alone(mode: str) -> None:
    out = load_processor(f"point_pointllm_{mode}", {"num_points": 50})(cloud())
    expected = np.concatenate([unit(cloud()[:, :3]), cloud()[:, 3:]], 1)
    assert np.allclose(out.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("system", SYSTEMS)
def test_evaluation_draws_nothing(system: str) -> None:
    process = load_processor(f"point_{system}_eval", {"num_points": 20})
    first, second = (process(cloud(), rng=np.random.default_rng(seed)) for seed in (0, 1))
    assert torch.equal(first, second)


@pytest.mark.parametrize(("system", "grey"), [("openshape", 0.4), ("pointllm", 0.0)])
def test_clouds_without_colour_get_the_systems_grey(system: str, grey: float) -> None:
    out = load_processor(f"point_{system}_eval", {"num_points": 20})(cloud(3))
    assert (out[:, 3:] == grey).all()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("point_openshape_train", {"tilt_sigm": 0.1}),
        ("point_mixcon3d_train", {"color_drop": 1.5}),
        ("point_pointllm_train", {"rotate_degrees": 10.0}),
        ("point_pointblip_eval", {"num_points": 0}),
    ],
)
def test_keys_are_checked(name: str, options: dict) -> None:
    with pytest.raises(ConfigError, match=name):
        load_processor(name, options)
