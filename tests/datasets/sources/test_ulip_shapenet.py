"""ULIP's ShapeNet triplets: names of a synset, images of turns, bad input."""

from __future__ import annotations

from pathlib import Path

import pytest

from lavis.common.errors import ConfigError, DataError
from tests.datasets.sources.trees import build, ulip_shapenet, write

NAME = "ulip_shapenet_caption"


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    ulip_shapenet(tmp_path)
    return tmp_path


def images(layout: Path, *changes: str) -> dict:
    folder = layout / "ulip/shapenet-55/rendered_images"
    return build(layout, NAME, "default", f"build_info.images.storage={folder}", *changes)


def test_one_name_of_the_synset_is_drawn_per_epoch(layout: Path) -> None:
    datasets = build(layout, NAME)
    texts = set()
    for epoch in range(30):
        datasets["train"].set_epoch(epoch)
        texts.add(datasets["train"][0]["text_input"])
    assert texts == {"airplane", "aeroplane", "plane"}
    assert datasets["test"][0]["text_input"] == "chair"
    assert datasets["train"][0]["category"] == "airplane"
    assert datasets["train"][0]["point_cloud"].shape == (32, 3)


def test_a_turn_and_its_kind_are_drawn_for_training(layout: Path) -> None:
    dataset = images(layout)["train"]
    red, depth = set(), set()
    for epoch in range(150):
        dataset.set_epoch(epoch)
        pixel = dataset[0]["image"][0, :, 0, 0]
        red.add(round(float(pixel[0]) * 255))
        depth.add(float(pixel[2]))
    assert len(red) == 30
    assert depth == {0.0, 1.0}


def test_evaluation_sees_turns_at_equal_steps_without_depth(layout: Path) -> None:
    dataset = images(layout, "build_info.images.views=3")["train"].reference_dataset()
    sample = dataset[0]
    assert [round(float(v) * 255) for v in sample["image"][:, 0, 0, 0]] == [0, 60, 120]
    assert not sample["image"][:, 2].any()


def test_objects_without_images_are_masked(layout: Path) -> None:
    dataset = images(layout)["train"]
    batch = dataset.collater([dataset[row] for row in range(3)])
    assert batch["image_mask"].flatten().tolist() == [True, False, False]


def test_both_lists_can_be_trained_on_as_published(layout: Path) -> None:
    folder = layout / "ulip/shapenet-55"
    both = f"build_info.annotations.train.storage=[{folder}/train.txt,{folder}/test.txt]"
    datasets = build(layout, NAME, "default", both, "build_info.annotations.test.storage=null")
    assert len(datasets["train"]) == 4


@pytest.mark.parametrize("line", ["02691156.npy", "99999999-a.npy", "../../a-b.npy"])
def test_a_line_of_no_synset_is_named(layout: Path, line: str) -> None:
    write(layout / "ulip/shapenet-55/train.txt", line + "\n")
    with pytest.raises(DataError, match=r"train\.txt[\s\S]*taxonomy"):
        build(layout, NAME)


@pytest.mark.parametrize(
    "taxonomy", ["{}", '[{"synsetId": "1"}]', '[{"synsetId": "1", "name": ","}]']
)
def test_a_damaged_taxonomy_is_named(layout: Path, taxonomy: str) -> None:
    write(layout / "ulip/shapenet-55/taxonomy.json", taxonomy)
    with pytest.raises(DataError, match=r"taxonomy\.json"):
        build(layout, NAME)


def test_missing_files_are_named(layout: Path) -> None:
    (layout / "ulip/shapenet-55/taxonomy.json").unlink()
    with pytest.raises(DataError, match=r"taxonomy\.storage"):
        build(layout, NAME)


@pytest.mark.parametrize("views", ["0", "31", "many"])
def test_a_wrong_number_of_views_is_refused(layout: Path, views: str) -> None:
    with pytest.raises(ConfigError, match=r"build_info\.images\.views"):
        images(layout, f"build_info.images.views={views}")
