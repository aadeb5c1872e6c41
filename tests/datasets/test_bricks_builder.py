"""Builders: the four names, their defaults, and errors in the yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lavis.common.registry import registry
from omegaconf import OmegaConf

import lavis  # noqa: F401  (registers builders)
from lavis.common.errors import ConfigError, DataError
from lavis.common.files import file_sha256
from lavis.datasets.builders.base_dataset_builder import BaseDatasetBuilder, load_dataset_config
from lavis.datasets.download_scripts.bricks_classes import HELD_OUT
from lavis.datasets.download_scripts.bricks_split import SPLIT_FILE

BUILDERS = [
    registry.get_builder_class(f"bricks_{use}")
    for use in ("caption", "retrieval", "qa", "classification")
]
CAPTIONS, RETRIEVAL, QA, CLASSIFICATION = BUILDERS


def config(cls: type[BaseDatasetBuilder], folder: Path, **build_info: Any) -> Any:
    """The component default, pointed at the small preparation."""
    cfg = load_dataset_config(cls.default_config_path())
    cfg.build_info.points = {"storage": str(folder), "num_points": 128, "num_objects": 120}
    for section in cfg.build_info.annotations.values():
        section.storage = section.storage.replace("bricks/", f"{folder}/", 1)
    return OmegaConf.merge(cfg, {"build_info": build_info})


@pytest.mark.parametrize("cls", BUILDERS)
def test_builder_gives_splits_that_collate(cls: type, small_bricks: Path) -> None:
    datasets = cls(config(cls, small_bricks)).build_datasets()
    expected = {"train", "val", "dev_test", "test_final"}
    assert set(datasets) == expected | (set() if cls is QA else {"held_out"})
    train = datasets["train"]
    batch = train.collater([train[0], train[1]])
    assert batch["point_cloud"].shape == (2, 1024, 6)
    assert len(batch["text_input"]) == 2
    assert datasets["dev_test"].train_annotation()
    reference = datasets["dev_test"].reference_dataset()
    assert len(reference) == len(train)
    assert reference.point_processor is datasets["dev_test"].point_processor


def test_limit_reaches_its_split(small_bricks: Path) -> None:
    cfg = config(CAPTIONS, small_bricks, limit={"train": 7})
    datasets = CAPTIONS(cfg).build_datasets()
    assert len(datasets["train"]) == 7
    assert len(datasets["dev_test"]) > 1


@pytest.mark.parametrize("limit", [0, -1, "ten"])
def test_impossible_limit_is_refused(small_bricks: Path, limit: Any) -> None:
    cfg = config(CAPTIONS, small_bricks, limit={"dev_test": limit})
    with pytest.raises(ConfigError, match=r"limit\.dev_test"):
        CAPTIONS(cfg).build_datasets()


def test_misspelt_processor_key_names_the_nearest(small_bricks: Path) -> None:
    cfg = config(CAPTIONS, small_bricks)
    cfg.point_processor.train.rotate_degree = 10
    with pytest.raises(ConfigError, match="rotate_degrees"):
        CAPTIONS(cfg).build_datasets()


def test_missing_annotation_file_is_named(small_bricks: Path) -> None:
    cfg = config(CAPTIONS, small_bricks)
    cfg.build_info.annotations.val.storage = "/no/such/file.json"
    with pytest.raises(DataError, match=r"/no/such/file\.json"):
        CAPTIONS(cfg).build_datasets()


def test_class_names_follow_the_labels(small_bricks: Path) -> None:
    cls = CLASSIFICATION
    dataset = cls(config(cls, small_bricks)).build_datasets()["train"]
    assert dataset.class_names == sorted(dataset.class_names)
    for index in range(0, len(dataset), 10):
        sample = dataset[index]
        assert dataset.class_names[sample["label"]] == sample["category"].lower()
    assert len(dataset.train_labels()) == len(dataset)


def test_held_out_objects_have_classes_of_their_own(small_bricks: Path) -> None:
    cls = CLASSIFICATION
    datasets = cls(config(cls, small_bricks)).build_datasets()
    held_out = datasets["held_out"]
    assert tuple(held_out.class_names) == HELD_OUT
    assert not set(held_out.class_names) & set(datasets["train"].class_names)
    assert len(held_out)
    assert {entry["category"] for entry in held_out.annotation} <= set(HELD_OUT)
    assert held_out.train_labels() == []


def test_text_field_chooses_the_caption(small_bricks: Path) -> None:
    cls = RETRIEVAL
    plain = cls(config(cls, small_bricks)).build_datasets()["dev_test"]
    colored = cls(config(cls, small_bricks, text_field="colored_caption")).build_datasets()
    sample, entry = colored["dev_test"][0], plain.annotation[0]
    assert sample["caption"] == entry["colored_caption"] != entry["caption"]
    assert colored["dev_test"].train_annotation()[0]["caption"].startswith(("a ", "an "))
    with pytest.raises(DataError, match="text_field=colour"):
        cls(config(cls, small_bricks, text_field="colour")).build_datasets()


def test_results_will_name_the_data_version(small_bricks: Path) -> None:
    cls = CAPTIONS
    for dataset in cls(config(cls, small_bricks)).build_datasets().values():
        assert dataset.data_version["name"] == "bricks"
        assert dataset.data_version["version"] == 2
        assert dataset.data_version["split_file_sha256"] == file_sha256(SPLIT_FILE)


@pytest.mark.parametrize("cls", BUILDERS)
def test_only_training_objects_are_seen_in_a_mirror(cls: type, small_bricks: Path) -> None:
    plain = cls(config(cls, small_bricks)).build_datasets()
    mirrored = cls(config(cls, small_bricks, mirror_probability=1.0)).build_datasets()

    def same(split: str) -> bool:
        clouds = [datasets[split][0]["point_cloud"] for datasets in (plain, mirrored)]
        return bool((clouds[0] == clouds[1]).all())

    assert not same("train")
    assert same("val")
    assert same("dev_test")
    assert mirrored["dev_test"].reference_dataset().steps == ()


def test_questions_that_are_named_more_often(small_bricks: Path) -> None:
    repeats = {"category": 3}
    plain = QA(config(QA, small_bricks)).build_datasets()
    more = QA(config(QA, small_bricks, question_repeats=repeats)).build_datasets()
    asked = sum(entry["question_type"] == "category" for entry in plain["train"].annotation)
    assert asked
    assert len(more["train"]) == len(plain["train"]) + 2 * asked
    assert len(more["dev_test"]) == len(plain["dev_test"])
