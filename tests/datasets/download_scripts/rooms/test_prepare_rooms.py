"""The prepared folder: whole, resumable, the same bytes every time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lavis.common.errors import DataError
from lavis.common.text_files import read_json
from lavis.datasets.download_scripts.prepare_rooms import compose_rooms, parameters, room_orders
from lavis.datasets.download_scripts.prepared import prepare_once
from lavis.datasets.download_scripts.rooms.files import is_shard, shard_path
from lavis.datasets.manifest import read_manifest
from lavis.datasets.stores.packed_fields import PackedFieldStore
from tests.datasets.download_scripts.rooms.box_furniture import (
    SMALL_PLAN,
    SMALL_ROOMS,
    box_catalogue,
    prepare_small,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_small(tmp_path_factory.mktemp("rooms") / "rooms")


def test_every_split_has_scenes_frames_and_expressions(folder: Path) -> None:
    store = PackedFieldStore(folder / "points")
    for split, count in {"train": 2, "val": 1, "test": 1, "held_out": 1}.items():
        scenes, frames, expressions = (
            read_json(folder / f"annotations/{kind}_{split}.json")
            for kind in ("scene", "frame", "refer")
        )
        assert len(scenes) == count
        assert len(frames) == count * SMALL_PLAN.views
        assert {e["object_id"] for e in expressions} <= {s["object_id"] for s in scenes}
        for scene in scenes:
            points = store.load_points(scene["object_id"])
            assert len(points["xyz"]) == SMALL_PLAN.num_points
            assert points["instance_label"].max() < len(scene["instances"])


def test_an_interrupted_run_continues_and_gives_the_same_bytes(folder: Path, tmp_path) -> None:
    class Stopped(Exception):
        pass

    def stopping():
        catalogue, asked = box_catalogue(), []

        def read_mesh(item):
            asked.append(item)
            if len({i.split for i in asked}) > 1:  # the second split begins
                raise Stopped
            return box_catalogue().read_mesh(item)

        catalogue.mesh = read_mesh
        return catalogue

    other, again = tmp_path / "rooms", {"work": tmp_path}
    facts = parameters(SMALL_ROOMS, SMALL_PLAN)

    def build(open_items):
        return lambda work, final: compose_rooms(
            again.setdefault("at", work), final, SMALL_ROOMS, SMALL_PLAN, open_items, 0, False
        )

    with pytest.raises(Stopped):
        prepare_once(other, facts, dict, build(stopping))
    assert not other.exists()
    made = [f"train_{n:04d}" for n in range(2)]
    assert all(is_shard(again["at"], name) for name in made)
    shard_path(again["at"], made[0]).write_bytes(b"PK cut")  # a damaged one is made again
    prepare_once(other, facts, dict, build(box_catalogue))
    assert read_manifest(other)["files"] == read_manifest(folder)["files"]


def test_rooms_divide_into_splits() -> None:
    orders = room_orders(600)
    counts = {split: sum(s == split for s, _ in orders) for split, _ in orders}
    assert counts == {"train": 420, "val": 60, "test": 60, "held_out": 60}
    assert len(set(orders)) == 600
    with pytest.raises(DataError, match="at least 4"):
        room_orders(3)


def test_points_are_kept_to_a_quarter_millimetre(folder: Path) -> None:
    points = PackedFieldStore(folder / "points").load_points("train_0000")
    assert np.abs(points["xyz"] * 4096 - np.rint(points["xyz"] * 4096)).max() < 1e-2
    assert np.abs(np.linalg.norm(points["normal"], axis=1) - 1).max() < 0.02


def test_two_processes_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    def build(work: Path, final: Path):
        return compose_rooms(work, final, SMALL_ROOMS, SMALL_PLAN, box_catalogue, 2, False)

    other = prepare_once(tmp_path / "rooms", parameters(SMALL_ROOMS, SMALL_PLAN), dict, build)
    assert read_manifest(other)["files"] == read_manifest(folder)["files"]
