"""The furniture as data sets: classes of each split, sizes, pictures, version of the data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lavis.common.registry import registry

import lavis  # noqa: F401  (registers builders)
from lavis.common.errors import DataError
from lavis.datasets.builders.base_dataset_builder import load_dataset_config
from lavis.datasets.rendering.view_store import ViewWriter, encode_png
from tests.datasets.download_scripts.furniture_tree import write_models

Build = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("data") / "furniture_models").parent


@pytest.fixture
def build(folder: Path) -> Build:
    def build(name: str, **options: Any) -> dict[str, Any]:
        builder = registry.get_builder_class(name)
        config = load_dataset_config(builder.default_config_path())
        points = {"storage": str(folder / "furniture"), "models": str(folder / "furniture_models")}
        config.build_info.points.merge_with({**points, "num_points": 128})
        for section in config.build_info.annotations.values():
            section.storage = f"{folder}/{section.storage}"
        config.build_info.merge_with(options)
        return builder(config).build_datasets()

    return build


def test_each_split_has_its_classes_and_the_version_of_the_data(build: Build) -> None:
    datasets = build("furniture_classification")
    assert {split: len(dataset) for split, dataset in datasets.items()} == {
        **{"train": 8, "val": 2, "test": 2, "held_out": 2}
    }
    assert datasets["test"].class_names == ["chair", "table"]
    assert datasets["held_out"].class_names == ["piano"]
    assert datasets["test"].data_version["name"] == "furniture"
    assert datasets["test"].data_version["version"] == 1
    sample = datasets["test"][0]
    assert sample["label"] == datasets["test"].class_names.index(sample["category"])


def test_sizes_are_metres_and_captions_are_several(build: Build) -> None:
    dataset = build("furniture_caption")["test"]
    sample = next(dataset[i] for i in range(2) if "katorlegaz" in dataset[i]["object_id"])
    np.testing.assert_allclose(sample["box_size"], [1.5, 1.0, 0.5], atol=0.15)
    assert sample["text_input"] == "chair"
    record = next(r for r in dataset.annotation if r["object_id"] == sample["object_id"])
    assert record["texts"]["caption"] == ["chair", "chair, seat", "chair for the office"]


def test_the_name_with_the_size_may_serve_as_caption(build: Build) -> None:
    dataset = build("furniture_caption", text_field="description")["val"]
    assert "cm wide" in dataset[0]["text_input"]


def test_icons_are_pictures_of_the_objects(build: Build) -> None:
    train = build("furniture_retrieval", images="icons")["train"]
    batch = train.collater([train[0], train[1]])
    assert batch["image"].shape == (2, 1, 3, 128, 128)
    assert batch["image_mask"].all()


def test_rendered_views_are_read_and_an_object_without_them_has_none(
    build: Build, tmp_path: Path
) -> None:
    train = build("furniture_caption")["train"]
    seen = train.annotation[0]["object_id"]
    with ViewWriter(tmp_path / "views.zip") as views:
        views.add(seen, [encode_png(np.full((8, 8, 3), v, np.uint8)) for v in (0, 255)])
    train = build("furniture_caption", images=str(tmp_path / "views.zip"))["train"]
    batch = train.collater([train[0], train[1]])
    assert batch["image"].shape == (2, 2, 3, 8, 8)
    assert torch.equal(batch["image_mask"], torch.tensor([[True, True], [False, False]]))
    assert (batch["image"][0, 1] == 1).all()


def test_missing_embeddings_name_the_command(build: Build, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="embed_views"):
        build("furniture_caption", image_embeds=str(tmp_path / "absent.safetensors"))
