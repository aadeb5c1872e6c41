"""Data sets: samples, collation, seeded augmentation, subsets, bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from lavis.common.errors import ConfigError, DataError
from lavis.datasets.datasets.point_text_datasets import (
    PointClassificationDataset,
    PointQADataset,
    PointRetrievalDataset,
    PointTextDataset,
)
from lavis.datasets.sources.bricks import repeat_types
from lavis.datasets.stores.point_stores import FilePointStore, check_cloud
from lavis.processors.point_processors import PointEvalProcessor, PointTrainProcessor

CLASSES = ["brick", "plate"]


@pytest.fixture
def objects(tmp_path: Path) -> tuple[Path, Path]:
    """Twelve clouds as .npy files and their captions; returns (folder, annotation file)."""
    rng = np.random.default_rng(0)
    entries = []
    for number in range(12):
        np.save(tmp_path / f"o{number}.npy", rng.random((40, 6), dtype=np.float32))
        caption, category = f"a Red part {number // 2}.", ("Brick", "Plate")[number % 2]
        entries.append({"object_id": f"o{number}", "caption": caption, "category": category})
    path = tmp_path / "captions.json"
    path.write_text(json.dumps(entries))
    return tmp_path, path


def build(
    objects: tuple[Path, Path], cls: type = PointTextDataset, train: bool = False, **options: Any
) -> PointTextDataset:
    """Build a data set on the twelve clouds."""
    processor_cls = PointTrainProcessor if train else PointEvalProcessor
    processor = processor_cls.from_config({"num_points": 32})
    store = FilePointStore(objects[0])
    return cls(processor, str.lower, store, [objects[1]], class_names=CLASSES, **options)


def test_caption_sample(objects) -> None:
    sample = build(objects)[3]
    assert sample["point_cloud"].shape == (32, 6)
    assert sample["point_cloud"].dtype == torch.float32
    assert sample["text_input"] == "a red part 1."
    assert sample["caption"] == "a Red part 1."
    assert sample["instance_id"] == sample["object_id"] == "o3"
    assert sample["label"] == 1
    assert "question" not in sample


def test_collater_stacks_clouds_and_labels_and_lists_the_rest(objects) -> None:
    dataset = build(objects)
    batch = dataset.collater([dataset[0], dataset[1]])
    assert batch["point_cloud"].shape == (2, 32, 6)
    assert batch["label"].tolist() == [0, 1]
    assert batch["label"].dtype == torch.int64
    assert batch["instance_id"] == ["o0", "o1"]


def test_box_size_is_that_of_the_stored_cloud_in_the_data_s_unit(objects) -> None:
    stored = np.load(objects[0] / "o3.npy")
    dataset = build(objects, train=True)
    dataset.point_store.scale = lambda object_id: 4.0  # type: ignore[method-assign]
    expected = torch.from_numpy(np.ptp(stored[:, :3], axis=0) * 4)
    torch.testing.assert_close(dataset[3]["box_size"], expected)
    dataset.set_epoch(1)  # another augmentation
    torch.testing.assert_close(dataset[3]["box_size"], expected)
    assert dataset.collater([dataset[0], dataset[3]])["box_size"].shape == (2, 3)


def test_augmentation_depends_on_seed_epoch_and_instance_only(objects) -> None:
    dataset = build(objects, train=True)
    first = dataset[3]["point_cloud"]
    dataset[5], dataset[1]  # other draws in between change nothing
    assert torch.equal(first, dataset[3]["point_cloud"])
    dataset.set_epoch(1)
    assert not torch.equal(first, dataset[3]["point_cloud"])
    dataset.set_epoch(0)
    assert torch.equal(first, dataset[3]["point_cloud"])
    dataset.seed = 7
    assert not torch.equal(first, dataset[3]["point_cloud"])


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_see_the_epoch_and_give_the_same_clouds(objects, workers: int) -> None:
    dataset = build(objects, train=True)
    loader = DataLoader(
        dataset,
        4,
        collate_fn=dataset.collater,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    alone = build(objects, train=True)
    for epoch in (0, 1):
        dataset.set_epoch(epoch)
        alone.set_epoch(epoch)
        clouds = torch.cat([batch["point_cloud"] for batch in loader])
        assert torch.equal(clouds, torch.stack([alone[i]["point_cloud"] for i in range(12)]))


def test_limit_is_a_stable_subset_in_file_order(objects) -> None:
    ids = [entry["object_id"] for entry in build(objects, limit=5).annotation]
    assert len(ids) == 5
    assert ids == sorted(ids, key=lambda i: int(i[1:]))
    more = [entry["object_id"] for entry in build(objects, limit=8).annotation]
    assert set(ids) < set(more)


def test_retrieval_groups_equal_captions(objects) -> None:
    dataset = build(objects, PointRetrievalDataset)
    assert len(dataset.texts) == 6
    assert dataset.text_to_points[2] == [4, 5]
    assert dataset.point_to_text[5] == 2


def test_baselines_read_the_training_annotation(objects, tmp_path: Path) -> None:
    train = tmp_path / "train.json"
    train.write_text(json.dumps([{"object_id": "t", "caption": "c", "category": "Plate"}]))
    dataset = build(objects, PointClassificationDataset, train_ann_paths=[train])
    assert dataset.train_labels() == [1]
    assert [entry["object_id"] for entry in dataset.train_annotation()] == ["t"]
    with pytest.raises(DataError, match="no training split"):
        dataset.reference_dataset()
    dataset.set_reference(build(objects))
    assert len(dataset.reference_dataset()) == 12


def test_unknown_category_is_named(objects) -> None:
    dataset = build(objects, PointClassificationDataset)
    dataset.annotation[0]["category"] = "Spoon"
    with pytest.raises(DataError, match="Spoon"):
        dataset[0]


def test_question_sample(objects, tmp_path: Path) -> None:
    path = tmp_path / "qa.json"
    pair = {"question_id": "o1:color", "object_id": "o1", "question": "What COLOR?"}
    path.write_text(json.dumps([pair | {"answer": "red", "family": "color"}]))
    sample = build((objects[0], path), PointQADataset)[0]
    assert sample["text_input"] == sample["question"] == "what color?"
    assert sample["instance_id"] == sample["question_id"] == "o1:color"
    assert (sample["answer"], sample["family"]) == ("red", "color")


BAD_CLOUDS = {
    "NaN": np.array([[np.nan, 0, 0], [1, 1, 1]], dtype=np.float32),
    "no points": np.zeros((0, 6), dtype=np.float32),
    "shape": np.zeros((5, 4), dtype=np.float32),
    "one place": np.ones((5, 3), dtype=np.float32),
    "type": np.array([["a", "b", "c"]]),
}


@pytest.mark.parametrize("problem", BAD_CLOUDS)
def test_bad_cloud_is_an_error_that_names_the_object(objects, problem: str) -> None:
    np.save(objects[0] / "o4.npy", BAD_CLOUDS[problem])
    dataset = build(objects)
    with pytest.raises(DataError, match=rf"(?s)object o4.*{problem}"):
        dataset[4]


def test_allowed_share_of_bad_clouds_is_left_out_and_listed(objects) -> None:
    np.save(objects[0] / "o4.npy", BAD_CLOUDS["NaN"])
    (objects[0] / "o7.npy").unlink()
    np.save(objects[0] / "o9.npy", np.array([{}], dtype=object), allow_pickle=True)
    dataset = build(objects, max_bad_fraction=0.25)
    assert [bad["instance_id"] for bad in dataset.bad_samples] == ["o4", "o7", "o9"]
    assert len(dataset) == 9
    assert all(torch.isfinite(dataset[i]["point_cloud"]).all() for i in range(9))


def test_more_bad_clouds_than_allowed_is_an_error(objects) -> None:
    for number in (4, 7):
        np.save(objects[0] / f"o{number}.npy", BAD_CLOUDS["NaN"])
    with pytest.raises(DataError, match="2 of 12"):
        build(objects, max_bad_fraction=0.1)


def test_empty_caption_is_named(objects) -> None:
    entries = json.loads(objects[1].read_text())
    entries[2]["caption"] = "  "
    objects[1].write_text(json.dumps(entries))
    with pytest.raises(DataError, match=r"(?s)o2.*caption"):
        build(objects)
    assert build(objects, max_bad_fraction=0.1).bad_samples[0]["instance_id"] == "o2"


@pytest.mark.parametrize("text", [None, "{", "{}", "[1]"])
def test_unreadable_annotation_is_named(objects, text: str | None) -> None:
    objects[1].unlink() if text is None else objects[1].write_text(text)
    with pytest.raises(DataError, match=r"captions\.json"):
        build(objects)


def test_archive_is_read_by_array_name(tmp_path: Path) -> None:
    cloud = np.eye(3, dtype=np.float32)
    (tmp_path / "u").mkdir()
    np.savez(tmp_path / "u" / "u_8192.npz", arr_0=cloud)
    store = FilePointStore(tmp_path, "{object_id}/{object_id}_8192.npz")
    np.testing.assert_array_equal(check_cloud(store.load("u"), "u"), cloud)
    other = FilePointStore(tmp_path, "{object_id}/{object_id}_8192.npz", array_name="points")
    with pytest.raises(DataError, match="u_8192"):
        other.load("u")


def test_training_texts_are_drawn_by_weight_and_epoch(objects) -> None:
    dataset = build(objects, train=True, text_weights={"caption": 3.0, "category": 1.0})
    drawn = []
    for epoch in range(40):
        dataset.set_epoch(epoch)
        drawn += [dataset[index]["text_input"] for index in range(12)]
    share = sum(text in CLASSES for text in drawn) / len(drawn)
    assert 0.18 < share < 0.32
    assert dataset[3]["text_input"] == drawn[-9], "the same epoch draws the same text"
    assert dataset[3]["caption"] == "a Red part 1."


@pytest.mark.parametrize(
    ("weights", "error", "said"),
    [
        ({"caption": -1.0}, ConfigError, "at least 0"),
        ({"caption": 0.0}, ConfigError, "not all 0"),
        ({"caption": 1.0, "descripton": 1.0}, DataError, "descripton"),
    ],
)
def test_unusable_text_weights_are_refused(objects, weights, error, said) -> None:
    with pytest.raises(error, match=said):
        build(objects, text_weights=weights)


def test_rare_question_types_are_repeated_with_augmentations_of_their_own(objects) -> None:
    path = objects[0] / "qa.json"
    record = {"object_id": "o1", "question": "how many?", "answer": "8"}
    types = ["teeth_count", "color", "teeth_count"]
    entries = [record | {"question_id": f"q{n}", "question_type": t} for n, t in enumerate(types)]
    path.write_text(json.dumps(entries))

    def build_qa(repeats: dict[str, int]) -> PointQADataset:
        processor = PointTrainProcessor.from_config({"num_points": 32})
        dataset = PointQADataset(processor, str.lower, FilePointStore(objects[0]), [path])
        dataset.annotation = repeat_types(dataset.annotation, repeats)
        return dataset

    dataset = build_qa({"teeth_count": 3})
    samples = [dataset[i] for i in range(len(dataset))]
    assert [s["question_id"] for s in samples] == ["q0"] * 3 + ["q1"] + ["q2"] * 3
    assert len({s["instance_id"] for s in samples}) == 7
    assert not torch.equal(samples[0]["point_cloud"], samples[1]["point_cloud"])
    for wrong in ({"teeth_cuont": 3}, {"color": 0}, {"color": 1.5}):
        with pytest.raises(ConfigError, match=r"question_repeats\."):
            build_qa(wrong)
