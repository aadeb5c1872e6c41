"""OpenShape's records: which texts and features are drawn, filtering, splits, bad input."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lavis.common.errors import ConfigError, DataError
from tests.datasets.sources.trees import (
    RECORDS,
    build,
    openshape,
    openshape_record,
    write,
    write_record,
)

NAME = "openshape_caption"
OBJAVERSE = f"openshape/{RECORDS}/Objaverse/000-000"


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    openshape(tmp_path)
    return tmp_path


def drawn(dataset: Any, index: int, epochs: int = 200) -> list[dict[str, Any]]:
    samples = []
    for epoch in range(epochs):
        dataset.set_epoch(epoch)
        samples.append(dataset[index])
    return samples


def change(layout: Path, number: int, **changes: object) -> Path:
    name = f"{number:032x}"
    path = layout / OBJAVERSE / f"{name}.npy"
    write_record(path, openshape_record(number, name, **changes))
    return path


def test_a_sample_has_the_cloud_a_text_and_features_of_both(layout: Path) -> None:
    dataset = build(layout, NAME)["train"]
    sample = dataset[1]
    assert sample["point_cloud"].shape == (32, 6)
    assert sample["text_embeds"].shape == (8,)
    assert sample["image_embeds"].shape == (4, 8)
    assert sample["image_embeds_mask"].all()
    assert sample["object_id"] == sample["instance_id"] == f"{1:032x}"


def test_each_source_is_drawn_equally_and_features_belong_to_the_text(layout: Path) -> None:
    samples = drawn(build(layout, NAME)["train"], 1, 600)
    of_text = {
        "Chair 1": 100.5,  # the first own text, with prompts
        "a red chair": 200.5,
        "a chair on a floor": 300.5,
        "old chair": 400.0,  # retrieved texts have no prompts
        "chair 3d model": 410.0,
    }
    counts = Counter(sample["caption"] for sample in samples)
    assert set(counts) == set(of_text)
    assert all(of_text[s["caption"]] == s["text_embeds"][0] for s in samples)
    kinds = [counts["Chair 1"], counts["a red chair"] + counts["a chair on a floor"]]
    assert all(160 < count < 240 for count in kinds)


def test_a_filtered_own_text_is_not_used(layout: Path) -> None:
    texts = {sample["caption"] for sample in drawn(build(layout, NAME)["train"], 0)}
    assert "Chair 0" not in texts
    assert len(texts) == 4
    off = "build_info.text_filtering.storage=null"
    texts = {sample["caption"] for sample in drawn(build(layout, NAME, "default", off)["train"], 0)}
    assert "Chair 0" in texts


def test_of_other_data_sets_any_own_text_is_drawn_and_no_thumbnail(layout: Path) -> None:
    samples = drawn(build(layout, NAME, "shapenet")["train"], 0)
    assert "another name" in {sample["caption"] for sample in samples}
    assert min(float(sample["image_embeds"].min()) for sample in samples) == 0.0


def test_half_of_the_samples_of_objaverse_see_the_thumbnail(layout: Path) -> None:
    samples = drawn(build(layout, NAME)["train"], 1)
    seen = sum(bool((sample["image_embeds"] == -1).any()) for sample in samples)
    assert 70 < seen < 130
    views = {float(v) for sample in samples for v in sample["image_embeds"][:, 0]}
    assert views == {-1.0, *map(float, range(12))}


def test_evaluation_takes_the_first_text_and_views_at_equal_steps(layout: Path) -> None:
    own = f"build_info.annotations.val.storage={layout}/openshape/meta_data/split/own_val.json"
    dataset = build(layout, NAME, "default", own)["val"]
    samples = drawn(dataset, 0, 3)
    assert {sample["caption"] for sample in samples} == {"Chair 3"}
    assert samples[0]["image_embeds"][:, 0].tolist() == [0.0, 3.0, 6.0, 9.0]


def test_objects_of_an_own_validation_list_are_not_trained_on(layout: Path) -> None:
    own = f"build_info.annotations.val.storage={layout}/openshape/meta_data/split/own_val.json"
    assert len(build(layout, NAME, "default", own)["train"]) == 4


@pytest.mark.parametrize(("kind", "count"), [("default", 5), ("no_lvis", 4), ("shapenet", 1)])
def test_types_are_the_published_lists(layout: Path, kind: str, count: int) -> None:
    assert len(build(layout, NAME, kind)["train"]) == count


def test_objects_without_text_or_views_are_masked_and_named(layout: Path, caplog) -> None:
    nothing = {"text": [], "text_feat": [], "retrieval_text": [], "retrieval_text_feat": []}
    nothing |= {"blip_caption": "", "msft_caption": ""}
    change(layout, 1, **nothing)
    change(layout, 2, image_feat=None)
    dataset = build(layout, NAME)["train"]
    batch = dataset.collater([dataset[index] for index in range(3)])
    assert batch["text_input"][1] == ""
    assert batch["text_embeds_mask"].tolist() == [True, False, True]
    assert batch["image_embeds_mask"].any(1).tolist() == [True, True, False]
    assert f"object {1:032x}: no text of the chosen kinds" in caplog.text
    assert f"object {2:032x}: no features of views" in caplog.text


def test_features_can_be_left_out_for_another_text_teacher(layout: Path) -> None:
    off = ("build_info.features.text=False", "build_info.features.image=False")
    sample = build(layout, NAME, "default", *off)["train"][1]
    assert {"text_input", "point_cloud"} <= set(sample)
    assert not {"text_embeds", "image_embeds"} & set(sample)


def test_original_features_are_an_option(layout: Path) -> None:
    dataset = build(layout, NAME, "default", "build_info.features.prompt=original")["train"]
    assert {float(s["text_embeds"][0]) for s in drawn(dataset, 1)} == {100, 200, 300, 400, 410}


class Code:
    """What a pickle must not run."""

    def __reduce__(self) -> tuple:
        return print, ("code of a pickle ran",)


def test_code_in_a_record_is_refused(layout: Path, capsys: pytest.CaptureFixture) -> None:
    path = change(layout, 1)
    path.write_bytes(pickle.dumps({"xyz": Code()}))
    with pytest.raises(DataError, match=rf"{path.name}[\s\S]*never run"):
        build(layout, NAME)["train"][1]
    assert "code of a pickle ran" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"xyz": None}, "without xyz"),
        ({"rgb": np.zeros((3, 3), np.float32)}, r"shapes \[\(64, 3\), \(3, 3\)\]"),
        ({"image_feat": np.zeros((12, 2, 8), np.float32)}, r"image features: float32 \(2, 8\)"),
        ({"text_feat": [{"prompt_avg": "x"}] * 2}, "text features: <U1"),
        ({"xyz": np.full((64, 3), np.nan, np.float32)}, "NaN"),
    ],
)
def test_a_damaged_record_is_named(layout: Path, changes: dict, message: str) -> None:
    texts = {"blip_caption": "", "msft_caption": "", "retrieval_text": []}
    change(layout, 1, **texts, **changes)
    with pytest.raises(DataError, match=message):
        build(layout, NAME)["train"][1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "a dict, no list of objects"),
        ('[{"id": "a"}]', "record 0: no id or no data_path"),
        ('[{"id": "a", "data_path": 3}]', "record 0: no id or no data_path"),
        ("[]", "no record"),
    ],
)
def test_a_damaged_list_is_named(layout: Path, content: str, message: str) -> None:
    write(layout / "openshape/meta_data/split/train_all.json", content)
    with pytest.raises(DataError, match=message):
        build(layout, NAME)


def test_a_path_out_of_the_folder_is_refused(layout: Path) -> None:
    listed = [{"id": "a", "data_path": "/mnt/data/../../etc/passwd"}]
    write(layout / "openshape/meta_data/split/train_all.json", json.dumps(listed))
    with pytest.raises(DataError, match="leads out of the folder"):
        build(layout, NAME)["train"][0]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("build_info.text_sources=[]", "build_info.text_sources"),
        ("build_info.text_sources=[captions]", "build_info.text_sources"),
        ("build_info.features.views=0", "build_info.features.views"),
        ("build_info.features.prompt=avg", "build_info.features.prompt"),
    ],
)
def test_wrong_options_name_their_key(layout: Path, option: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(layout, NAME, "default", option)


def test_a_missing_filtering_list_is_named(layout: Path) -> None:
    (layout / "openshape/meta_data/gpt4_filtering.json").unlink()
    with pytest.raises(DataError, match=r"text_filtering\.storage"):
        build(layout, NAME)


def test_one_read_serves_cloud_texts_and_images(layout: Path) -> None:
    dataset = build(layout, NAME)["train"]
    store = dataset.point_store
    assert store.record(f"{1:032x}") is store.record(f"{1:032x}")
    assert torch.equal(dataset[1]["point_cloud"], dataset[1]["point_cloud"])
