"""ScanObjectNN: variants, classes, OpenShape's file, bad input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lavis.common.errors import DataError
from lavis.evaluation.records import DATA_KEYS
from tests.datasets.sources.trees import build, random_cloud, scanobjectnn

NAME = "scanobjectnn_classification"


def labels(dataset: Any) -> list[str]:
    return [dataset.class_names[dataset[i]["label"]] for i in range(len(dataset))]


@pytest.mark.parametrize("variant", ["pb_t50_rs", "obj_bg", "obj_only"])
def test_each_variant_reads_its_own_files(variant: str, tmp_path: Path) -> None:
    scanobjectnn(tmp_path, variant)
    datasets = build(tmp_path, NAME, variant)
    assert labels(datasets["train"]) == ["bag", "desk", "toilet", "desk"]
    assert labels(datasets["test"]) == ["toilet", "desk"]
    assert datasets["test"].train_labels() == [0, 5, 14, 5]
    version = datasets["test"].data_version
    assert version["name"] == f"scanobjectnn_{variant}"
    assert set(version) == set(DATA_KEYS)
    assert version["split_file_sha256"] != datasets["train"].data_version["split_file_sha256"]
    assert datasets["test"][0]["point_cloud"].shape == (32, 3)


def test_the_default_is_the_hardest_variant(tmp_path: Path) -> None:
    scanobjectnn(tmp_path)
    assert build(tmp_path, NAME)["test"].data_version["name"] == "scanobjectnn_pb_t50_rs"


def write_open_shape(root: Path, **content: Any) -> None:
    folder = root / "openshape/meta_data/scanobjectnn"
    folder.mkdir(parents=True)
    np.save(folder / "xyz_label.npy", content, allow_pickle=True)


@pytest.mark.parametrize("colored", [False, True])
def test_open_shapes_file_is_read_with_its_colours_or_grey(colored: bool, tmp_path: Path) -> None:
    clouds = np.stack([random_cloud(row, 6) for row in range(3)])
    rgb = {"rgb": clouds[..., 3:]} if colored else {}
    write_open_shape(tmp_path, xyz=clouds[..., :3], label=np.array([1, 2, 3]), **rgb)
    dataset = build(tmp_path, NAME, "openshape")["test"]
    assert labels(dataset) == ["bin", "box", "cabinet"]
    expected = clouds[0, :32, 3:] if colored else np.full((32, 3), 0.4, np.float32)
    torch.testing.assert_close(dataset[0]["point_cloud"][:, 3:], torch.from_numpy(expected))
    assert dataset.train_annotation() == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"label": np.array([1, 15])}, "labels of 15 classes from 1 to 15"),
        ({"label": np.array([1.0, 2.0])}, "labels of 15 classes"),
        ({"label": np.array([1])}, "2 clouds, 1 labels"),
        ({"label": np.array([1, 2]), "rgb": np.zeros((1, 64, 3))}, "shorter"),
    ],
)
def test_labels_that_do_not_fit_are_named(content: dict, message: str, tmp_path: Path) -> None:
    xyz = np.stack([random_cloud(row) for row in range(2)])
    write_open_shape(tmp_path, xyz=xyz, **content)
    with pytest.raises(DataError, match=rf"xyz_label\.npy[\s\S]*{message}"):
        build(tmp_path, NAME, "openshape")


def test_a_file_without_labels_is_named(tmp_path: Path) -> None:
    scanobjectnn(tmp_path)
    h5py = pytest.importorskip("h5py")
    path = "scanobjectnn/h5_files/main_split/test_objectdataset_augmentedrot_scale75.h5"
    with h5py.File(tmp_path / path, "a") as file:
        del file["label"]
    with pytest.raises(DataError, match=r"no array 'label', but data, mask"):
        build(tmp_path, NAME)
