"""The corruption suite: what each kind does, that it is repeatable, and how splits are added."""

from types import SimpleNamespace

import numpy as np
import pytest

from lavis.common.errors import ConfigError
from lavis.evaluation.corruptions import (
    CORRUPTIONS,
    CorruptedStore,
    add_corrupted_splits,
    parse_corruptions,
)


def sphere(count=400, seed=0):
    rng = np.random.default_rng(seed)
    xyz = rng.standard_normal((count, 3))
    xyz /= np.linalg.norm(xyz, axis=1, keepdims=True)
    return np.hstack([xyz, rng.random((count, 3))]).astype(np.float32)


class Store:
    def load(self, object_id):
        return sphere(seed=len(object_id))

    def scale(self, object_id):
        return float(len(object_id))


@pytest.mark.parametrize("kind", sorted(CORRUPTIONS))
def test_every_kind_is_a_function_of_seed_object_and_severity(kind):
    first, again = (CorruptedStore(Store(), kind, 3, 7).load("abc") for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert CorruptedStore(Store(), kind, 3, 7).scale("abc") == 3.0
    assert first.dtype == np.float32
    assert first.shape[1] == 6
    assert 1 <= len(first) <= 400
    assert np.isfinite(first).all()
    others = [CorruptedStore(Store(), kind, 3, 8).load("abc"), Store().load("abc")]
    for other in others:
        assert other.shape != first.shape or not np.array_equal(other, first)
    clean = Store().load("abc")
    np.testing.assert_array_equal(Store().load("abc"), clean)


@pytest.mark.parametrize("kind", sorted(CORRUPTIONS))
def test_severity_makes_it_worse(kind):
    clean = sphere(2000)

    def damage(severity):
        clouds = [
            CORRUPTIONS[kind](clean, severity, np.random.default_rng(seed)) for seed in range(12)
        ]
        if len(clouds[0]) < len(clean):
            return -np.mean([len(cloud) for cloud in clouds])
        return np.mean([np.linalg.norm(cloud - clean, axis=1).mean() for cloud in clouds])

    assert damage(1) < damage(3) < damage(5)


def test_a_single_view_of_a_sphere_shows_one_half():
    seen = CORRUPTIONS["single_view"](sphere(4000), 5, np.random.default_rng(0))
    assert 0.35 < len(seen) / 4000 < 0.65
    center = seen[:, :3].mean(axis=0)
    assert np.linalg.norm(center) > 0.3  # all on one side


def test_rotation_keeps_distances_and_colors():
    clean = sphere()
    turned = CORRUPTIONS["rotation"](clean, 5, np.random.default_rng(1))
    np.testing.assert_array_equal(turned[:, 3:], clean[:, 3:])
    center = clean[:, :3].mean(axis=0)
    np.testing.assert_allclose(
        np.linalg.norm(turned[:, :3] - center, axis=1),
        np.linalg.norm(clean[:, :3] - center, axis=1),
        atol=1e-5,
    )


def test_one_point_survives_everything():
    for corrupt in CORRUPTIONS.values():
        assert corrupt(sphere(1)[:, :3], 5, np.random.default_rng(0)).shape == (1, 3)


def test_names_are_read_and_misspelt_ones_refused():
    assert parse_corruptions(["jitter:5", "dropout", "jitter:5"]) == [("jitter", 5), ("dropout", 3)]
    assert len(parse_corruptions(["all"])) == len(CORRUPTIONS)
    for name in ("jiter:3", "jitter:6", "jitter:x"):
        with pytest.raises(ConfigError, match="jitter"):
            parse_corruptions([name])


def test_splits_get_a_corrupted_copy_and_stay_clean_themselves():
    dataset = SimpleNamespace(point_store=Store(), annotation=[{"object_id": "a"}])
    datasets = {"bricks": {"test": dataset, "train": SimpleNamespace(point_store=Store())}}
    added = add_corrupted_splits(datasets, ["test"], ["jitter:2", "noise"], seed=0)
    assert added == ["test_jitter_2", "test_noise_3"]
    assert isinstance(dataset.point_store, Store)
    corrupted = datasets["bricks"]["test_jitter_2"]
    assert corrupted.annotation is dataset.annotation
    assert not np.array_equal(corrupted.point_store.load("x"), dataset.point_store.load("x"))
