"""Objaverse-LVIS in three layouts: classes in published order, features, bad input."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from lavis.common.errors import DataError
from lavis.datasets.sources.class_embeds import read_class_embeds
from tests.datasets.sources.trees import (
    LVIS_CLASSES,
    build,
    lvis_openshape,
    openshape_record,
    random_cloud,
    write,
    write_record,
)

NAME = "objaverse_lvis_classification"
NAMES = ["band aid", "chair", "teddy bear"]  # of Band_Aid, chair, teddy_bear
UIDS = [f"{number:032x}" for number in range(4)]


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    lvis_openshape(tmp_path)
    return tmp_path


def objaverse(root: Path) -> None:
    packed = gzip.compress(json.dumps({"chair": UIDS[:2], "Band_Aid": UIDS[2:3]}).encode())
    (root / "objaverse").mkdir()
    (root / "objaverse/lvis-annotations.json.gz").write_bytes(packed)
    for number, uid in enumerate(UIDS):
        folder = root / "objaverse/objaverse_pc_parallel" / uid
        folder.mkdir(parents=True)
        np.savez(folder / f"{uid}_8192.npz", random_cloud(number))


def ulip(root: Path) -> None:
    base = root / "objaverse-lvis"
    paths = {uid: f"000-000/{uid}.npy" for uid in UIDS}
    for number, (uid, path) in enumerate(paths.items()):
        write_record(base / path, openshape_record(number, uid))
    write(base / "lvis.json", json.dumps(paths))
    classes = dict(zip(UIDS, LVIS_CLASSES))
    ids = {name: label for label, name in enumerate(sorted(set(LVIS_CLASSES)))}
    metadata = {"value_to_key_mapping": classes, "key_to_id": ids}
    write(base / "objaverse_lvis_metadata.json", json.dumps(metadata))


def test_labels_follow_the_alphabetical_order_of_the_lvis_names(layout: Path) -> None:
    dataset = build(layout, NAME)["test"]
    assert dataset.class_names == NAMES
    assert [dataset[row]["label"] for row in range(3)] == [2, 0, 1]
    assert dataset[0]["point_cloud"].shape == (32, 6)
    assert dataset[0]["image_embeds"].shape == (4, 8)


def test_features_of_the_class_names_come_in_the_order_of_the_labels(layout: Path) -> None:
    path = layout / "openshape/meta_data/lvis_cat_name_pt_feat.npy"
    dataset = build(layout, NAME, "default", f"build_info.class_embeds.storage={path}")["test"]
    assert np.array_equal(dataset.class_embeds, np.eye(3, 8))
    assert build(layout, NAME)["test"].class_embeds is None


def test_objaverses_own_list_goes_with_any_clouds(tmp_path: Path) -> None:
    objaverse(tmp_path)
    dataset = build(tmp_path, NAME, "objaverse")["test"]
    assert dataset.class_names == ["band aid", "chair"]
    assert [dataset[row]["label"] for row in range(3)] == [1, 1, 0]
    assert dataset[0]["point_cloud"].shape == (32, 3)


def test_ulips_list_and_metadata_are_read(tmp_path: Path) -> None:
    ulip(tmp_path)
    dataset = build(tmp_path, NAME, "ulip")["test"]
    assert dataset.class_names == NAMES
    assert [dataset[row]["label"] for row in range(4)] == [2, 0, 1, 1]


def test_a_uid_of_two_classes_is_named(tmp_path: Path) -> None:
    objaverse(tmp_path)
    path = tmp_path / "objaverse/lvis-annotations.json.gz"
    path.write_bytes(gzip.compress(json.dumps({"a": [UIDS[0]], "b": [UIDS[0]]}).encode()))
    with pytest.raises(DataError, match=f"object {UIDS[0]}: of the classes a and b"):
        build(tmp_path, NAME, "objaverse")


# Own ids: the bytes of gzip hold the time, so that workers of pytest-xdist would disagree.
@pytest.mark.parametrize("damage", [b"no gzip", gzip.compress(b"[1")], ids=["text", "cut list"])
def test_a_damaged_list_is_named(tmp_path: Path, damage: bytes) -> None:
    objaverse(tmp_path)
    (tmp_path / "objaverse/lvis-annotations.json.gz").write_bytes(damage)
    with pytest.raises(DataError, match="lvis-annotations"):
        build(tmp_path, NAME, "objaverse")


def test_a_record_without_a_class_is_named(layout: Path) -> None:
    path = layout / "openshape/meta_data/split/lvis.json"
    content = json.loads(path.read_text())
    del content[1]["category"]
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="category"):
        build(layout, NAME)


def test_missing_metadata_are_named(tmp_path: Path) -> None:
    ulip(tmp_path)
    (tmp_path / "objaverse-lvis/objaverse_lvis_metadata.json").unlink()
    with pytest.raises(DataError, match=r"metadata\.storage"):
        build(tmp_path, NAME, "ulip")


def test_a_mapping_of_class_features_is_read_by_name(tmp_path: Path) -> None:
    path = tmp_path / "cat_name_pt_feat.npy"
    rows = {name: {"open_clip_text_feat": np.full((1, 4), n)} for n, name in enumerate("ab")}
    rows["night_stand"] = {"open_clip_text_feat": np.full((1, 4), 2.0)}
    write_record(path, rows)
    found = read_class_embeds(path, ["night stand", "a"])
    assert found[:, 0].tolist() == [2.0, 0.0]
    with pytest.raises(ValueError, match="no embedding of"):
        read_class_embeds(path, ["c"])


def test_class_features_of_other_classes_are_refused(layout: Path) -> None:
    path = layout / "few.npy"
    np.save(path, np.eye(2, 8, dtype=np.float32))
    with pytest.raises(DataError, match="2 embeddings for 3 classes"):
        build(layout, NAME, "default", f"build_info.class_embeds.storage={path}")
