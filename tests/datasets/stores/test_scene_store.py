"""Scenes as a store: upright, centred, in a fixed random order, labels checked."""

from __future__ import annotations

import numpy as np
import pytest

from lavis.common.errors import DataError
from lavis.datasets.stores.scene_store import CheckedLabels, SceneStore


def scene(name: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(len(name))
    count = 0 if name == "empty" else 50
    xyz = rng.uniform([500_000.0, 10, 2], [500_004.0, 16, 5], (count, 3))
    normal = np.tile([0.0, 0.0, 1.0], (count, 1))
    return {"xyz": xyz, "normal": normal, "semantic_label": np.arange(count) % 4}


def test_up_becomes_y_and_the_floor_is_at_zero() -> None:
    points = SceneStore(scene, "z").load_points("a")
    xyz = points["xyz"]
    assert xyz.dtype == np.float32
    low, high = xyz.min(0), xyz.max(0)
    assert low[1] == 0
    np.testing.assert_allclose((low + high)[[0, 2]], 0, atol=1e-5)
    assert (points["normal"] == [0, 1, 0]).all()
    given = scene("a")
    heights = {label: [] for label in range(4)}
    for label, height in zip(
        given["semantic_label"], given["xyz"][:, 2] - given["xyz"][:, 2].min()
    ):
        heights[label].append(height)
    for label, expected in heights.items():
        own = np.sort(xyz[points["semantic_label"] == label, 1])
        np.testing.assert_allclose(own, np.sort(expected), atol=1e-5)


def test_the_order_is_random_and_the_same_every_time() -> None:
    whole = SceneStore(scene, "y", seed=3).load_points("a")["semantic_label"]
    few = SceneStore(scene, "y", num_points=20, seed=3).load_points("a")["semantic_label"]
    other = SceneStore(scene, "y", seed=4).load_points("a")["semantic_label"]
    assert (whole[:20] == few).all()
    assert (whole != other).any()
    assert (whole != np.sort(whole)).any()


def test_a_scene_is_read_once_for_its_loaders_and_changes_do_not_stay() -> None:
    asked: list[str] = []

    def read(name: str) -> dict[str, np.ndarray]:
        asked.append(name)
        return scene(name)

    store = SceneStore(read, "z")
    first = store.load_points("a")
    first["more"] = np.zeros(50)
    assert "more" not in store.load_points("a")
    assert asked == ["a"]
    for name in ("bb", "ccc", "a"):
        store.load_points(name)
    assert asked == ["a", "bb", "ccc", "a"]


def test_empty_scenes_and_labels_outside_the_set_are_named() -> None:
    store = SceneStore(scene, "z")
    with pytest.raises(DataError, match=r"(?s)no points.*empty"):
        store.load_points("empty")
    assert CheckedLabels(store, 4).load_points("a")["semantic_label"].dtype == np.int64
    with pytest.raises(DataError, match=r"(?s)labels outside the set.*a.*\[3\].*-1 \(none\) to 2"):
        CheckedLabels(store, 3).load_points("a")
