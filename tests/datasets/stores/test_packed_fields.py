"""Packed per-point fields of clouds of different size: round trip, refusals, damage."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from lavis.common.errors import DataError
from lavis.common.files import file_sha256
from lavis.datasets.manifest import verify_manifest
from lavis.datasets.stores.packed_fields import (
    FIELD_LAYOUTS,
    UNIT_XYZ,
    FieldLayout,
    PackedFieldStore,
    PackedFieldWriter,
)

SIZES = {"small": 3, "large": 50, "middle": 17}


def points_of(count: int) -> dict[str, np.ndarray]:
    """A cloud with every field of `FIELD_LAYOUTS`."""
    rng = np.random.default_rng(count)
    normal = rng.normal(size=(count, 3))
    return {
        "xyz": rng.normal(5.0, 3.0, (count, 3)).astype(np.float32),
        "rgb": (rng.integers(0, 256, (count, 3)) / 255).astype(np.float32),
        "normal": normal / np.linalg.norm(normal, axis=1, keepdims=True),
        "semantic_label": rng.integers(-1, 20, count),
        "instance_label": np.arange(count),
        "pixel_of_point": rng.integers(-1, 480, (count, 2)),
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "scenes"
    with PackedFieldWriter(path, FIELD_LAYOUTS, source="a test") as writer:
        for name, count in SIZES.items():
            writer.write(name, points_of(count), scale=count / 2)
    return path


def test_every_field_comes_back(folder: Path) -> None:
    store = PackedFieldStore(folder)
    assert len(store) == 3
    for name, count in SIZES.items():
        expected, points = points_of(count), store.load_points(name)
        assert store.num_points(name) == count
        assert store.scale(name) == count / 2
        np.testing.assert_array_equal(points["xyz"], expected["xyz"])
        np.testing.assert_allclose(points["rgb"], expected["rgb"], atol=1e-6)
        np.testing.assert_allclose(points["normal"], expected["normal"], atol=0.5 / 127 + 1e-6)
        for label in ("semantic_label", "instance_label", "pixel_of_point"):
            np.testing.assert_array_equal(points[label], expected[label])
        cloud = np.concatenate([points["xyz"], points["rgb"]], axis=1)
        np.testing.assert_array_equal(store.load(name), cloud)


def test_values_may_be_changed_and_stores_pickled(folder: Path) -> None:
    store = pickle.loads(pickle.dumps(PackedFieldStore(folder)))
    for values in store.load_points("large").values():
        values += 1
    np.testing.assert_array_equal(store.load_points("large")["instance_label"], np.arange(50))


def test_the_manifest_has_checksums_and_facts(folder: Path) -> None:
    manifest = verify_manifest(folder, full=True)
    assert manifest["source"] == "a test"
    assert {"field_xyz.npy", "points_offsets.npy", "object_ids.json"} <= set(manifest["files"])
    assert np.load(folder / "field_semantic_label.npy").shape == (sum(SIZES.values()),)


def test_quantised_coordinates(tmp_path: Path) -> None:
    xyz = np.random.default_rng(0).uniform(-1, 1, (9, 3))
    with PackedFieldWriter(tmp_path / "p", {"xyz": UNIT_XYZ}) as writer:
        writer.write("a", {"xyz": xyz})
        with pytest.raises(DataError, match=r"(?s)object far.*int16"):
            writer.write("far", {"xyz": xyz * 40})
    cloud = PackedFieldStore(tmp_path / "p").load("a")
    assert cloud.dtype == np.float32
    np.testing.assert_allclose(cloud, xyz, atol=0.5 / 32767 + 1e-7)


BAD = {
    "unequal": ({"semantic_label": np.zeros(4, int)}, "differ in length"),
    "missing": ({"semantic_label": None}, "semantic_label"),
    "another": ({"weight": np.zeros(5)}, "weight"),
    "shape": ({"rgb": np.zeros((5, 4))}, "shape"),
    "nan": ({"xyz": np.full((5, 3), np.nan)}, "NaN"),
    "colour": ({"rgb": np.full((5, 3), 2.0)}, "uint8"),
    "fraction": ({"semantic_label": np.full(5, 0.5)}, "int32"),
    "overflow": ({"semantic_label": np.full(5, 2**40)}, "int32"),
    "empty": ({name: values[:0] for name, values in points_of(5).items()}, "no points"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_objects_are_refused_by_name_and_leave_the_rest_whole(case: str, tmp_path) -> None:
    changes, message = BAD[case]
    points = {k: v for k, v in {**points_of(5), **changes}.items() if v is not None}
    with PackedFieldWriter(tmp_path / "p", FIELD_LAYOUTS) as writer:
        writer.write("first", points_of(5))
        with pytest.raises(
            DataError, match=rf"(?s)object wrong.*{message}|{message}.*object wrong"
        ):
            writer.write("wrong", points)
        with pytest.raises(DataError, match="twice"):
            writer.write("first", points_of(5))
        writer.write("last", points_of(6))
    store = PackedFieldStore(tmp_path / "p")
    np.testing.assert_array_equal(store.load_points("last")["xyz"], points_of(6)["xyz"])


def test_colours_of_0_to_255_are_packed_as_colours(tmp_path: Path) -> None:
    points = points_of(5)
    points["rgb"] = np.array([[0, 128, 255]] * 5, np.uint8)
    with PackedFieldWriter(tmp_path / "p", FIELD_LAYOUTS) as writer:
        writer.write("bytes", points)
        writer.write("floats", {**points, "rgb": points["rgb"].astype(np.float64)})
    for name in ("bytes", "floats"):
        loaded = PackedFieldStore(tmp_path / "p").load_points(name)["rgb"]
        np.testing.assert_allclose(loaded, points["rgb"] / 255, atol=1e-6)


def test_far_coordinates_are_packed_in_float64_or_refused(tmp_path: Path) -> None:
    xyz = np.random.default_rng(0).uniform(-0.4, 0.4, (9, 3))
    xyz += np.array([512345.0, 5654321.0, 112.0])
    with PackedFieldWriter(tmp_path / "p", {"xyz": FIELD_LAYOUTS["xyz"]}) as writer:
        with pytest.raises(DataError, match=r"(?s)object far.*steps of 0\.5.*subtract"):
            writer.write("far", {"xyz": xyz})
        writer.write("near", {"xyz": xyz - xyz[0]})
    with PackedFieldWriter(tmp_path / "q", {"xyz": FieldLayout("float64", 3)}) as writer:
        writer.write("far", {"xyz": xyz})
    np.testing.assert_array_equal(PackedFieldStore(tmp_path / "q").load("far"), xyz)


def test_an_interrupted_writer_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with PackedFieldWriter(tmp_path / "p", FIELD_LAYOUTS) as writer:
            writer.write("a", points_of(5))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_existing_folders_and_fields_without_xyz_are_refused(folder: Path) -> None:
    with pytest.raises(DataError, match="the folder exists"):
        PackedFieldWriter(folder, FIELD_LAYOUTS)
    with pytest.raises(DataError, match="xyz among"):
        PackedFieldWriter(folder.parent / "other", {"rgb": FIELD_LAYOUTS["rgb"]})


def test_unknown_objects_are_named(folder: Path) -> None:
    with pytest.raises(DataError, match="object missing"):
        PackedFieldStore(folder).load_points("missing")


@pytest.mark.parametrize("name", ["field_xyz.npy", "points_offsets.npy", "object_ids.json"])
def test_damage_is_noticed(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-4])
    with pytest.raises(DataError, match=name):
        PackedFieldStore(folder)
    (folder / name).unlink()
    with pytest.raises(DataError, match=name):
        PackedFieldStore(folder)


def test_files_that_contradict_each_other_are_refused(folder: Path) -> None:
    ids = json.loads((folder / "object_ids.json").read_text())
    text = json.dumps(["small", *ids[1:2], "small"])
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "object_ids.json").write_text(text)
    for name in ("object_ids.npy", "object_order.npy"):  # the ids are read from the JSON
        (folder / name).unlink()
        del manifest["files"][name]
    manifest["files"]["object_ids.json"]["bytes"] = len(text)
    digest = file_sha256(folder / "object_ids.json")
    manifest["files"]["object_ids.json"]["sha256"] = digest
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="3 ids, 2 of them different"):
        PackedFieldStore(folder)


def test_other_layouts_may_be_given(tmp_path: Path) -> None:
    layouts = {"xyz": FIELD_LAYOUTS["xyz"], "height": FieldLayout("float16")}
    with PackedFieldWriter(tmp_path / "p", layouts) as writer:
        writer.write("a", {"xyz": points_of(4)["xyz"], "height": np.ones(4)})
    assert PackedFieldStore(tmp_path / "p").load_points("a")["height"].tolist() == [1.0] * 4


def test_fields_that_are_encoded_already_are_written_as_they_are(tmp_path: Path) -> None:
    layouts = {"xyz": UNIT_XYZ, "rgb": FIELD_LAYOUTS["rgb"]}
    rng = np.random.default_rng(0)
    xyz = rng.integers(-32767, 32768, (9, 3)).astype(np.int16)
    rgb = rng.integers(0, 256, (9, 3)).astype(np.uint8)
    with PackedFieldWriter(tmp_path / "a", layouts) as writer:
        writer.write("a", {"xyz": xyz, "rgb": rgb}, 2.0, is_stored=True)
        for wrong in ({"xyz": xyz.astype(np.int32), "rgb": rgb}, {"xyz": xyz, "rgb": rgb[:, :2]}):
            with pytest.raises(DataError, match="object b"):
                writer.write("b", wrong, is_stored=True)
    np.testing.assert_array_equal(np.load(tmp_path / "a" / "field_xyz.npy"), xyz)
    np.testing.assert_array_equal(np.load(tmp_path / "a" / "field_rgb.npy"), rgb)
