"""Features of objects and their cache on the disk."""

from __future__ import annotations

import json
import logging
import shutil

import numpy as np
import pytest

from lavis.common.errors import EvaluationError
from lavis.datasets.stores.packed_points import PackedPointWriter
from lavis.datasets.stores.point_stores import FilePointStore, PackedPointStore
from lavis.evaluation.baselines import cache, features, pool
from lavis.evaluation.baselines.features import object_features, occupancy


@pytest.fixture
def packed(toys, tmp_path):
    """Return a packed folder with a manifest."""
    with PackedPointWriter(tmp_path, len(toys.CLOUDS), 400) as writer:
        for row, cloud in enumerate(toys.CLOUDS.values()):
            radius = float(np.linalg.norm(cloud[:, :3], axis=1).max())
            rgb = (cloud[:, 3:] * 255).astype(np.uint8)
            writer.write(row, cloud[:, :3] / radius, rgb, radius)
    (tmp_path / "object_ids.json").write_text(json.dumps(list(toys.CLOUDS)))
    (tmp_path / "manifest.json").write_text('{"version": 1}')
    cache.forget()
    yield tmp_path
    cache.forget()


def cached(folder):
    return sorted((folder / features.CACHE_FOLDER).glob("*"))


def test_features_are_those_of_the_cloud(toys):
    found = object_features(toys.ToyStore(toys.CLOUDS), ["plate24", "ball"])
    np.testing.assert_allclose(found.boxes, [[2, 0.4, 4], [4, 4, 4]], atol=1e-6)
    np.testing.assert_allclose(found.colors, [[1, 0, 0]] * 2)
    assert found.histograms.sum(axis=1) == pytest.approx([1, 1])
    assert found.clouds.shape == (2, features.N_POINTS, 3)
    assert np.abs(found.clouds[1]).max() <= 2.0 + 1e-6
    corner = occupancy(np.array([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]]))
    assert (corner[0], corner[-1]) == (0.5, 0.5)


def test_the_cache_is_read_and_follows_the_content(packed):
    first = object_features(PackedPointStore(packed), ["ball", "brick24"])
    (file,) = cached(packed)
    cache.forget()
    store = PackedPointStore(packed)
    store.load = None  # a hit reads no cloud
    second = object_features(store, ["ball", "brick24"])
    np.testing.assert_array_equal(first.table(), second.table())
    cache.forget()
    (packed / "manifest.json").write_text('{"version": 2}')
    object_features(PackedPointStore(packed), ["ball"])
    assert len(cached(packed)) == 2
    assert file in cached(packed)


def test_a_damaged_cache_is_computed_again(toys, packed, caplog):
    first = object_features(PackedPointStore(packed), toys.ASKED)
    (file,) = cached(packed)
    for content in (b"not an archive", file.read_bytes()[:2000], b""):
        file.write_bytes(content)
        cache.forget()
        with caplog.at_level(logging.WARNING):
            again = object_features(PackedPointStore(packed), toys.ASKED)
        np.testing.assert_array_equal(first.table(), again.table())
        assert "is damaged" in caplog.text


def test_a_folder_that_cannot_be_written_only_means_no_cache(toys, packed, monkeypatch):
    (packed / features.CACHE_FOLDER).write_text("a file where the folder should be")
    assert object_features(PackedPointStore(packed), toys.ASKED) is not None
    assert not list(packed.glob("*.tmp"))


def test_data_that_are_deleted_meanwhile_are_not_made_anew(toys, packed, monkeypatch):
    extract = features.extract_features

    def extract_and_delete(store, ids):
        found = extract(store, ids)
        shutil.rmtree(packed)
        return found

    monkeypatch.setattr(features, "extract_features", extract_and_delete)
    assert len(object_features(PackedPointStore(packed), toys.ASKED)) == len(toys.ASKED)
    assert not packed.exists()


def test_no_cache_is_written_without_a_manifest(toys, packed, monkeypatch):
    extract = features.extract_features

    def extract_and_unlink(store, ids):
        (packed / cache.MANIFEST).unlink()
        return extract(store, ids)

    monkeypatch.setattr(features, "extract_features", extract_and_unlink)
    assert object_features(PackedPointStore(packed), toys.ASKED) is not None
    assert cached(packed) == []


def test_neighbours_are_cached_too(toys, packed, monkeypatch):
    data = toys.dataset(store=PackedPointStore(packed))
    first = pool.pool_of(data, toys.ASKED).orders
    assert len(cached(packed)) == 2
    cache.forget()
    monkeypatch.setattr(pool, "all_orders", None)  # a hit computes nothing
    second = pool.pool_of(data, toys.ASKED).orders
    assert {n: o.tolist() for n, o in first.items()} == {n: o.tolist() for n, o in second.items()}


def test_files_give_histograms_without_boxes_and_lose_unreadable_objects(toys, tmp_path):
    for name in ("brick24", "ball", "asked_ball"):
        np.save(tmp_path / f"{name}.npy", toys.CLOUDS[name])
    found = pool.pool_of(toys.dataset(store=FilePointStore(tmp_path)), ["asked_ball"])
    assert found.size == {"used": 2, "whole": 4}
    assert found.features.boxes is None
    assert set(found.orders) == {"nearest_histogram", "nearest_chamfer"}
    assert found.train_ids[found.best_order[0, 0]] == "ball"
    with pytest.raises(EvaluationError, match="plate24"):
        pool.pool_of(toys.dataset(store=FilePointStore(tmp_path)), ["plate24"])


def test_stores_with_too_many_files_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "MAX_READ", 1)
    assert object_features(FilePointStore(tmp_path), ["a", "b"]) is None


def test_boxes_are_enough_for_the_nearest_box(toys):
    class Boxes:
        def box_sizes(self):
            return toys.ToyStore(toys.CLOUDS).box_sizes()

    found = pool.pool_of(toys.dataset(store=Boxes()), toys.ASKED)
    assert set(found.orders) == {"nearest_box"}
