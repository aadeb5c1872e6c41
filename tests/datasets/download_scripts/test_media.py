"""Prepared pictures and sounds: splits, held-out classes, sounds and pictures of the same item."""

from __future__ import annotations

import json

import pytest

from lavis.datasets.stores.packed_audio import PackedAudio
from tests.datasets.download_scripts.media_tree import write_media


def records(folder, split):
    return json.loads((folder / "annotations" / f"caption_{split}.json").read_text())


@pytest.fixture
def folder(tmp_path):
    return write_media(tmp_path / "stamps", "stamps")


def test_every_item_is_in_one_split_and_held_out_classes_in_theirs(folder):
    splits = {name: records(folder, name) for name in ("train", "val", "test", "held_out")}
    ids = [record["object_id"] for own in splits.values() for record in own]
    assert sorted(ids) == sorted(f"i{number}" for number in range(40))
    assert {record["object_id"] for record in splits["held_out"]} == {
        f"i{n}" for n in range(36, 40)
    }
    assert len(splits["train"]) > len(splits["val"])


def test_sounds_belong_to_the_items_that_have_one(folder):
    store = PackedAudio(folder)
    assert store.load("i1") is None
    assert len(store.load("i2")) == 802
    assert abs(store.load("i2")).max() == pytest.approx(0.5, abs=0.01)


def test_the_same_items_give_the_same_bytes(folder, tmp_path):
    again = write_media(tmp_path / "again", "stamps")
    for path in folder.rglob("*"):
        if path.is_file() and path.name != "manifest.json":
            assert path.read_bytes() == (again / path.relative_to(folder)).read_bytes(), path
