"""The prepared furniture: clouds with the colours of textures, texts, splits, and its command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lavis.common.errors import DataError
from lavis.datasets.download_scripts import prepare_furniture as command
from lavis.datasets.download_scripts.furniture.catalogue import read_models
from lavis.datasets.download_scripts.furniture.classes import HELD_OUT, class_of
from lavis.datasets.download_scripts.furniture.clouds import sample_cloud
from lavis.datasets.download_scripts.furniture.meshes import fit, read_model
from lavis.datasets.download_scripts.furniture.splits import (
    SPLITS,
    Place,
    groups_of,
    read_splits,
    split_by_rule,
)
from lavis.datasets.download_scripts.furniture.texts import (
    captions,
    description,
    length,
    room_question,
)
from lavis.datasets.download_scripts.prepare_furniture import prepare_furniture
from lavis.datasets.manifest import MANIFEST_NAME
from lavis.datasets.stores.point_stores import PackedPointStore
from tests.datasets.download_scripts.furniture_tree import NAMES, model, write_models

CHAIR = "blendswap-cc-0_antiqueChair"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("furniture") / "furniture_models")


@pytest.fixture(scope="module")
def prepared(models: Path) -> Path:
    return prepare_furniture(models.with_name("furniture"), 128, progress=False)


def test_a_model_is_turned_and_scaled_to_its_box() -> None:
    corners = np.array([[0.0, 0, 0], [10, 20, 40]])
    fitted = fit(corners, model("a", "Chair", (1.0, 2.0, 3.0)))
    np.testing.assert_allclose([fitted.min(0), fitted.max(0)], [[-0.5, 0, -1.5], [0.5, 2, 1.5]])


def test_clouds_have_the_colours_of_materials_and_textures(models: Path) -> None:
    entry = read_models(models)[CHAIR]
    cloud = sample_cloud(models, entry, 2000, seed=0)
    xyz, rgb = cloud.xyz / 32767 * cloud.scale, cloud.rgb
    np.testing.assert_allclose(np.ptp(xyz, axis=0), entry.size, atol=0.02)
    sides = (np.abs(xyz[:, [0, 2]]) > 0.249).any(axis=1)
    top = (xyz[:, 1] > 0.499) & ~sides
    assert (rgb[sides & (xyz[:, 1] < 0.499)] == (0, 0, 255)).all()
    assert (rgb[top & (xyz[:, 0] < -0.01)] == (255, 0, 0)).all()
    assert (rgb[top & (xyz[:, 0] > 0.01)] == (0, 255, 0)).all()
    assert top.any()


def test_a_cloud_depends_on_id_and_seed_alone(models: Path) -> None:
    one, other = (read_models(models)[name] for name in (CHAIR, "blendswap-cc-0_chair"))
    first = sample_cloud(models, one, 64, 0).xyz
    assert (first == sample_cloud(models, one, 64, 0).xyz).all()
    assert not (first == sample_cloud(models, one, 64, 1).xyz).all()
    assert not (first == sample_cloud(models, other, 64, 0).xyz).all()


def test_a_damaged_model_is_named(models: Path, tmp_path: Path) -> None:
    entry = read_models(models)[CHAIR]
    (tmp_path / CHAIR).mkdir()
    (tmp_path / CHAIR / "box.obj").write_text("v 0 0 0\nv 1 0 0\n")
    with pytest.raises(DataError, match=r"antiqueChair/box\.obj"):
        read_model(tmp_path, entry)


def test_texts_say_what_the_catalogue_says() -> None:
    entry = model("a", "Armchair", (0.594, 1.05, 0.025))
    assert captions(entry) == ["armchair", "armchair, seat", "armchair for the office"]
    assert description(entry) == "armchair, 59 cm wide, 105 cm high, 2.5 cm deep"
    assert room_question(entry) == {"question": "where is it used?", "answer": "office"}
    assert length(4.25) == "4.2 m"


def test_everything_is_prepared_once_and_equal_bytes_come_out(
    models: Path, prepared: Path, tmp_path: Path
) -> None:
    again = prepare_furniture(tmp_path / "again", 128, models=models, progress=False)
    first, second = ((f / MANIFEST_NAME).read_bytes() for f in (prepared, again))
    assert first == second
    store = PackedPointStore(prepared)
    assert sorted(store.row_of) == sorted(NAMES)
    np.testing.assert_allclose(store.box_sizes()[CHAIR], [0.5, 1.0, 0.5], atol=0.1)
    counts = json.loads(first)["counts"]
    assert counts["splits"] == {"train": 8, "val": 2, "test": 2, "held_out": 2, "left_out": 0}
    assert (counts["classes"], counts["held_out_classes"]) == (2, 1)
    records = json.loads((prepared / "annotations/class_train.json").read_text())
    assert {record["category"] for record in records} == {"chair", "table"}
    assert (prepared / "LICENSES/Lib.txt").exists()


def test_an_interrupted_preparation_continues_with_whole_pieces(
    models: Path, prepared: Path, tmp_path: Path, monkeypatch
) -> None:
    def stopped(*arguments: object) -> None:
        raise DataError("disk full")

    monkeypatch.setattr(command, "write_texts", stopped)
    with pytest.raises(DataError, match="disk full"):
        prepare_furniture(tmp_path / "f", 128, models=models, progress=False)
    assert not (tmp_path / "f").exists()
    (piece,) = tmp_path.glob(".f.partial-*/piece_*.npz")
    piece.write_bytes(piece.read_bytes()[:1000])  # cut: it is made again
    monkeypatch.undo()
    again = prepare_furniture(tmp_path / "f", 128, models=models, progress=False)
    assert (again / MANIFEST_NAME).read_bytes() == (prepared / MANIFEST_NAME).read_bytes()
    assert not list(tmp_path.glob(".f.partial-*"))


def test_another_plan_for_a_prepared_folder_is_refused(prepared: Path, models: Path) -> None:
    with pytest.raises(DataError, match="other parameters"):
        prepare_furniture(prepared, 64, models=models, progress=False)


def test_the_split_file_follows_its_rule() -> None:
    places = read_splits()
    assert len(places) == 820
    assert {place.split for place in places.values()} <= {*SPLITS, "left_out"}
    split_of_group: dict[str, str] = {}
    for place in places.values():
        assert split_of_group.setdefault(place.group, place.split) == place.split
    names = {**NAMES, "scopia_table3": "Table"}
    entries = [model(object_id, name, (1, 1, 1)) for object_id, name in names.items()]
    frozen = {object_id: places[object_id].group for object_id in names}
    assert split_by_rule(entries, frozen) == {name: places[name] for name in names}


def test_variants_of_a_name_and_near_duplicates_are_one_group() -> None:
    names = {"a": "Type A plug", "b": "Type B plug", "c": "Sofa 2 seats", "d": "Chair", "e": "Cat"}
    entries = [model(object_id, name, (1, 1, 1)) for object_id, name in names.items()]
    groups = groups_of(entries, near=[("d", "c")])
    assert groups == {"a": "a", "b": "a", "c": "c", "d": "c", "e": "e"}


def test_what_is_linked_with_a_held_out_class_is_left_out() -> None:
    entries = [model("a", "Grand piano", (1, 1, 1)), model("b", "Table", (1, 1, 1))]
    places = split_by_rule(entries, {"a": "a", "b": "a"})
    assert places == {"a": Place("held_out", "a"), "b": Place("left_out", "a")}
    assert class_of("Grand piano") in HELD_OUT
    assert class_of("Concept Sedan 02 Sport") == "car"
    assert class_of("Spiral staircase") is None


def test_the_command_exports_a_users_files(models: Path, tmp_path: Path, capsys) -> None:
    arguments = ["--models", str(models), "--export", str(tmp_path / "mine"), "--count", "3"]
    assert command.main(arguments) == 0
    assert "3 models" in capsys.readouterr().out
    files = sorted(path.name for path in (tmp_path / "mine").glob("*/*.obj"))
    assert len(files) == 3
    rows = (tmp_path / "mine/captions.csv").read_text().splitlines()
    assert rows[0] == "object_id,caption,class,group"
    assert len(rows) == 10  # three captions each
    assert not list((tmp_path / "mine").rglob("icon.png"))
    assert command.main(arguments) == 1  # it exists
    assert "exists" in capsys.readouterr().err


def test_verify_compares_every_hash(prepared: Path, tmp_path: Path, capsys) -> None:
    assert command.main(["--out", str(prepared), "--verify"]) == 0
    assert "14 objects" in capsys.readouterr().out
    assert command.main(["--out", str(tmp_path / "absent"), "--verify"]) == 1
