"""Cap3D's captions over three layouts of clouds: splits, several captions, bad input."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from lavis.common.errors import ConfigError, DataError
from tests.datasets.sources.trees import build, cap3d, gpt4point, random_cloud, write

CSV = "cap3d/Cap3D_automated_Objaverse_full.csv"


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    cap3d(tmp_path)
    return tmp_path


@pytest.fixture
def gpt_layout(tmp_path: Path) -> Path:
    gpt4point(tmp_path)
    return tmp_path


def uids(dataset: Any) -> list[int]:
    return [int(entry["object_id"], 16) for entry in dataset.annotation]


def test_listed_uids_with_a_caption_become_samples(layout: Path) -> None:
    datasets = build(layout, "cap3d_caption")
    assert uids(datasets["train"]) == [0, 1, 2]
    assert uids(datasets["test"]) == [3]
    sample = datasets["train"][1]
    assert sample["caption"] == "A red chair, number 1."
    assert sample["point_cloud"].shape == (32, 3)


def test_the_csv_itself_is_a_split_without_the_tested_objects(layout: Path) -> None:
    change = f"build_info.annotations.train.storage={layout / CSV}"
    datasets = build(layout, "cap3d_caption", "default", change)
    assert uids(datasets["train"]) == [0, 1, 2]


def test_several_captions_of_a_uid_are_drawn_in_training_and_kept_as_references(layout) -> None:
    path = layout / CSV
    rows = path.read_text() + f'{0:032x},"A stool.\nIt is red."\n{3:032x},A stool.\n'
    path.write_text(rows)
    datasets = build(layout, "cap3d_caption")
    texts = set()
    for epoch in range(20):
        datasets["train"].set_epoch(epoch)
        texts.add(datasets["train"][0]["text_input"])
    assert texts == {"a red chair, number 0", "a stool it is red"}
    assert datasets["test"].annotation[0]["texts"]["caption"] == [
        "A red chair, number 3.",
        "A stool.",
    ]


def test_own_coloured_clouds_are_a_type(layout: Path) -> None:
    head = ["ply", "format ascii 1.0", "element vertex 64"]
    head += [f"property float {axis}" for axis in "xyz"]
    head += [f"property uchar {color}" for color in ("red", "green", "blue")]
    for number in range(4):
        cloud = random_cloud(number, 6)
        rows = [f"{x} {y} {z} {int(r * 255)} 0 255" for x, y, z, r, _, _ in cloud]
        text = "\n".join([*head, "end_header", *rows])
        write(layout / f"cap3d/PointCloud_ply/{number:032x}.ply", text + "\n")
    datasets = build(layout, "cap3d_caption", "ply")
    assert uids(datasets["train"]) == [0, 1, 2]
    assert datasets["train"][0]["point_cloud"].shape == (32, 6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,c\n", "line 1: 3 columns"),
        ("uid1,x\n,y\n", "line 2: 2 columns"),
        ("uid1,x\nuid2\n", "line 2: 1 columns"),
        ('uid1,"x\n', "line 1: unexpected end of data"),
    ],
)
def test_damage_of_the_csv_is_named_with_its_line(text: str, message: str, layout: Path) -> None:
    write(layout / CSV, text)
    with pytest.raises(DataError, match=rf"full\.csv[\s\S]*{message}"):
        build(layout, "cap3d_caption")


def test_a_missing_csv_is_named_with_its_key(layout: Path) -> None:
    (layout / CSV).unlink()
    with pytest.raises(DataError, match=r"build_info\.captions\.storage"):
        build(layout, "cap3d_caption")


def test_gpt4points_pickles_become_coloured_clouds(gpt_layout: Path) -> None:
    datasets = build(gpt_layout, "cap3d_caption", "gpt4point")
    assert uids(datasets["train"]) == [0, 2]
    assert uids(datasets["val"]) == [1]
    assert datasets["train"][0]["point_cloud"].shape == (32, 6)
    white = datasets["train"][1]["point_cloud"][:, 3:]
    assert torch.equal(white, torch.ones(32, 3))
    assert datasets["test"].annotation[0]["texts"]["caption"] == ["Chair 3.", "A seat."]


@pytest.mark.parametrize(
    ("content", "message"), [(print, "never run"), ([1], "a list, no array"), (None, "no array")]
)
def test_other_pickles_are_refused(content: Any, message: str, gpt_layout: Path) -> None:
    path = gpt_layout / "cap3d/points/Cap3D_pcs_8192_xyz_w_color/0.pkl"
    path.write_bytes(pickle.dumps(content))
    train = build(gpt_layout, "cap3d_caption", "gpt4point")["train"]
    with pytest.raises(DataError, match=rf"0\.pkl[\s\S]*{message}"):
        train[0]


def test_records_without_a_cloud_are_named(gpt_layout: Path) -> None:
    write(gpt_layout / "cap3d/annotations/cap3d_caption_val.json", '[{"caption": "A chair."}]')
    with pytest.raises(DataError, match=r"caption_val\.json[\s\S]*record 0: no point"):
        build(gpt_layout, "cap3d_caption", "gpt4point")


def test_an_unknown_layout_is_refused(layout: Path) -> None:
    with pytest.raises(ConfigError, match="layout"):
        build(layout, "cap3d_caption", "default", "build_info.layout=parquet")
