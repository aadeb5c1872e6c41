"""Stores hand out colours in [0,1] and coordinates in the file's own precision, and say it once."""

import logging

import numpy as np
import pytest

from lavis.common.errors import DataError
from lavis.datasets.fields.images import ImageLoader
from lavis.datasets.stores.cloud_check import check_clouds
from lavis.datasets.stores.point_stores import FilePointStore, check_cloud, check_points
from lavis.datasets.stores.tar_shards import TarShardStore, write_shards

RNG = np.random.default_rng(0)
FAR = (512345.0, 5654321.0, 112.0)


def bytes_cloud(dtype: str = "float32") -> np.ndarray:
    rgb = RNG.integers(0, 256, (30, 3))
    rgb[0] = 255
    return np.concatenate([RNG.uniform(-1, 1, (30, 3)), rgb], axis=1).astype(dtype)


def stores(folder, clouds):
    """The same clouds as files and in a tar."""
    for name, cloud in clouds.items():
        np.save(folder / f"{name}.npy", cloud)
    return [FilePointStore(folder), TarShardStore(write_shards(clouds.items(), folder / "t", 9))]


def test_bytes_are_scaled_and_said_once_per_data_set(tmp_path, caplog):
    clouds = {name: bytes_cloud() for name in "abc"}
    for store in stores(tmp_path, clouds):
        caplog.clear()
        for name, cloud in clouds.items():
            loaded = store.load(name)
            np.testing.assert_array_equal(loaded[:, :3], cloud[:, :3])
            np.testing.assert_allclose(loaded[:, 3:], cloud[:, 3:] / 255, atol=1e-7)
        assert len(caplog.records) == 1
        assert "object a: colours from 0 to 255 are divided" in caplog.text


@pytest.mark.parametrize(("low", "high"), [(-1, 1), (0, 3), (0, 1000)])
def test_other_ranges_are_refused_by_object_and_range(tmp_path, low, high):
    cloud = bytes_cloud()
    cloud[:, 3:] = RNG.uniform(low, high, (30, 3))
    for store in stores(tmp_path, {"scan": cloud}):
        with pytest.raises(DataError, match=r"(?s)scan.*colours from -?\d.* to \d"):
            store.load("scan")
    with pytest.raises(DataError, match=r"(?s)object scan.*colours from -?\d.* to \d"):
        check_cloud(cloud, "scan")


def test_normals_are_left_out_and_said(tmp_path, caplog):
    normals = RNG.standard_normal((30, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    cloud = np.concatenate([RNG.uniform(-1, 1, (30, 3)), normals], axis=1)
    for store in stores(tmp_path, {"scan": cloud}):
        np.testing.assert_array_equal(store.load("scan"), cloud[:, :3])
    assert caplog.text.count("read as normals") == 2
    assert "object scan" in caplog.text


def test_far_coordinates_keep_their_digits(tmp_path):
    cloud = bytes_cloud("float64")
    cloud[:, :3] += FAR
    for store in stores(tmp_path, {"scan": cloud}):
        loaded = check_cloud(store.load("scan"), "scan")
        np.testing.assert_array_equal(loaded[:, :3], cloud[:, :3])


def test_far_coordinates_that_lost_their_digits_are_refused(tmp_path):
    cloud = bytes_cloud("float64")
    cloud[:, :3] += FAR
    for store in stores(tmp_path, {"scan": cloud.astype(np.float32)}):
        with pytest.raises(DataError, match=r"(?s)scan.*in steps of 0\.5"):
            store.load("scan")


def test_a_good_cloud_is_handed_on_as_it_is():
    cloud = np.concatenate([RNG.uniform(-1, 1, (30, 3)), RNG.random((30, 3))], 1).astype(np.float32)
    assert check_cloud(cloud, "a") is cloud


def test_named_fields_are_checked_likewise():
    cloud = bytes_cloud("float64")
    points = {"xyz": cloud[:, :3] + FAR, "rgb": cloud[:, 3:].astype(np.uint8), "label": np.ones(30)}
    checked = check_points(points, "room")
    np.testing.assert_array_equal(checked["xyz"], points["xyz"])
    assert checked["rgb"].max() == 1
    assert set(checked) == {"xyz", "rgb", "label"}
    with pytest.raises(DataError, match=r"(?s)object room.*colours from -2 to -2"):
        check_points({**points, "rgb": np.full((30, 3), -2.0)}, "room")


@pytest.mark.parametrize("suffix", [".ply", ".txt", ".npz"])
def test_other_formats_are_one_pattern_away(tmp_path, suffix):
    xyz = RNG.uniform(-1, 1, (3, 3)).astype(np.float32)
    lines = "\n".join(" ".join(map(repr, row)) for row in xyz.tolist()) + "\n"
    names = "".join(f"property float {n}\n" for n in "xyz")
    ply = f"ply\nformat ascii 1.0\nelement vertex 3\n{names}end_header\n"
    np.savez(tmp_path / "a.npz", points=xyz)
    (tmp_path / "a.ply").write_text(ply + lines)
    (tmp_path / "a.txt").write_text(lines)
    loaded = FilePointStore(tmp_path, "{object_id}" + suffix).load("a")
    np.testing.assert_array_equal(loaded.astype(np.float32), xyz)


def test_one_bad_file_is_a_result_and_no_end_of_the_check(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    store, _ = stores(tmp_path, {"good": bytes_cloud(), "bad": np.full((3, 6), -7.0)})
    (tmp_path / "cut.npy").write_bytes(b"\x93NUMPY\x01")
    checks = check_clouds(store, ["good", "bad", "cut", "gone"])
    assert checks["good"].problem == ""
    assert all(checks[name].problem for name in ("bad", "cut", "gone"))


@pytest.mark.parametrize("name", ["../outside", "a/../../outside", "/etc/passwd", "a\0b"])
def test_an_id_that_leads_out_of_the_folder_is_refused(tmp_path, name):
    (tmp_path / "inside").mkdir()
    np.save(tmp_path / "outside.npy", np.random.default_rng(0).normal(size=(64, 3)))
    with pytest.raises(DataError, match="leads out of the folder"):
        FilePointStore(tmp_path / "inside").load(name)
    with pytest.raises(DataError, match="leads out of the folder"):
        ImageLoader(tmp_path / "inside").load({"object_id": name}, np.random.default_rng(0))
