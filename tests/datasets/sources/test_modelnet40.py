"""ModelNet40 in its four layouts: classes, clouds, gravity axis, bad input."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from lavis.common.errors import ConfigError, DataError
from lavis.datasets.class_names import MODELNET40
from tests.datasets.sources.trees import build, modelnet40_text, random_cloud, write

NAME = "modelnet40_classification"


@pytest.fixture
def text_layout(tmp_path: Path) -> Path:
    modelnet40_text(tmp_path)
    return tmp_path


@pytest.fixture
def npy_layout(tmp_path: Path) -> Path:
    """Three test objects as OpenShape stores them: grey 100 of 255."""
    folder = tmp_path / "openshape/meta_data/modelnet40"
    names = [("bathtub_0107", "bathtub"), ("tv_stand_0268", "tv_stand"), ("xbox_0104", "xbox")]
    split = [{"name": name, "category": category} for name, category in names]
    write(folder / "test_split.json", json.dumps(split))
    clouds = np.empty(3, dtype=object)
    grey = np.full((64, 3), 100, np.uint8)
    clouds[:] = [{"xyz": random_cloud(number), "rgb": grey} for number in range(3)]
    np.save(folder / "test_pc.npy", clouds, allow_pickle=True)
    return tmp_path


@pytest.fixture
def h5_layout(tmp_path: Path) -> Path:
    """Two files to train on and one to test, three objects each."""
    h5py = pytest.importorskip("h5py")
    folder = tmp_path / "modelnet40_ply_hdf5_2048"
    folder.mkdir()
    for split, files in {"train": 2, "test": 1}.items():
        names = [f"ply_data_{split}{number}.h5" for number in range(files)]
        lines = [f"data/modelnet40_ply_hdf5_2048/{name}" for name in names]
        write(folder / f"{split}_files.txt", "\n".join(lines) + "\n")
        for number, name in enumerate(names):
            with h5py.File(folder / name, "w") as file:
                clouds = [random_cloud(10 * number + row) for row in range(3)]
                file["data"] = np.stack(clouds)
                file["label"] = np.array([[0], [15], [39]], np.uint8)
    return tmp_path


def labels(dataset) -> list[str]:
    return [dataset.class_names[dataset[i]["label"]] for i in range(len(dataset))]


def test_text_files_become_labelled_clouds_without_normals(text_layout: Path) -> None:
    datasets = build(text_layout, NAME)
    assert {split: len(dataset) for split, dataset in datasets.items()} == {"train": 4, "test": 2}
    assert labels(datasets["train"]) == ["airplane", "airplane", "flower pot", "night stand"]
    sample = datasets["test"][1]
    assert sample["object_id"] == "flower_pot_0150"
    assert sample["caption"] == sample["category"] == "flower pot"
    assert sample["point_cloud"].shape == (32, 3)
    assert list(datasets["test"].class_names) == list(MODELNET40)
    assert datasets["test"].train_labels() == [0, 0, 15, 23]
    assert not {e["object_id"] for e in datasets["test"].train_annotation()} & {
        e["object_id"] for e in datasets["test"].annotation
    }


def test_an_object_of_both_lists_is_not_trained_on(text_layout: Path, caplog) -> None:
    path = text_layout / "modelnet40_normal_resampled/modelnet40_test.txt"
    path.write_text("airplane_0002\nflower_pot_0150\n")
    datasets = build(text_layout, NAME)
    ids = [entry["object_id"] for entry in datasets["train"].annotation]
    assert ids == ["airplane_0001", "flower_pot_0001", "night_stand_0001"]
    assert [e["object_id"] for e in datasets["test"].train_annotation()] == ids
    assert [e["object_id"] for e in datasets["test"].reference_dataset().annotation] == ids
    said = "1 of 4 training records belong to evaluated objects"
    assert caplog.text.count(said) == 1


def test_a_file_that_is_a_split_and_training_is_refused(text_layout: Path) -> None:
    folder = text_layout / "modelnet40_normal_resampled"
    (folder / "modelnet40_train.txt").write_text((folder / "modelnet40_test.txt").read_text())
    with pytest.raises(DataError, match=r"No object is left to train on"):
        build(text_layout, NAME)


def test_open_shapes_file_has_grey_clouds_and_no_training_split(npy_layout: Path) -> None:
    datasets = build(npy_layout, NAME, "openshape")
    assert list(datasets) == ["test"]
    assert labels(datasets["test"]) == ["bathtub", "tv stand", "xbox"]
    cloud = datasets["test"][0]["point_cloud"]
    assert cloud.shape == (32, 6)
    torch.testing.assert_close(cloud[:, 3:], torch.full((32, 3), 100 / 255))
    assert datasets["test"].train_annotation() == []


def test_open_shapes_lists_of_different_length_are_named(npy_layout: Path) -> None:
    path = npy_layout / "openshape/meta_data/modelnet40/test_split.json"
    path.write_text(json.dumps(json.loads(path.read_text())[:2]))
    with pytest.raises(DataError, match=r"test_pc\.npy[\s\S]*3 clouds for 2 objects"):
        build(npy_layout, NAME, "openshape")


def test_code_in_open_shapes_file_is_refused(npy_layout: Path) -> None:
    clouds = np.empty(3, dtype=object)
    clouds[:] = [print, print, print]
    np.save(npy_layout / "openshape/meta_data/modelnet40/test_pc.npy", clouds, allow_pickle=True)
    with pytest.raises(DataError, match="never run"):
        build(npy_layout, NAME, "openshape")


def test_hdf5_files_become_labelled_clouds(h5_layout: Path) -> None:
    datasets = build(h5_layout, NAME, "h5")
    assert len(datasets["train"]) == 6
    assert labels(datasets["test"]) == ["airplane", "flower pot", "xbox"]
    assert datasets["test"][2]["object_id"] == "ply_data_test0/2"
    assert datasets["train"][0]["point_cloud"].shape == (32, 3)


def write_dat(root: Path, content: object) -> None:
    path = root / "pointllm/modelnet40_test_8192pts_fps.dat"
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps(content))


@pytest.mark.parametrize("several", [True, False])
def test_pickled_pairs_become_black_labelled_clouds(several: bool, tmp_path: Path) -> None:
    clouds = [random_cloud(row, 6) for row in range(2)]
    pair = (clouds, [np.array([9], np.int32), np.array([0], np.int32)])
    write_dat(tmp_path, list(pair) if several else (np.stack(clouds), np.array([9, 0])))
    dataset = build(tmp_path, NAME, "pointllm")["test"]
    assert labels(dataset) == ["cone", "airplane"]
    assert dataset[1]["object_id"] == "modelnet40_test_8192pts_fps/1"
    assert torch.equal(dataset[0]["point_cloud"][:, 3:], torch.zeros(32, 3))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], "a list, no pair"),
        (([random_cloud(0, 6)], [np.array([40])]), "1 clouds, 1 labels of 40 classes"),
        (([random_cloud(0, 6)], [np.array([1, 2])]), "1 clouds, 2 labels"),
        ((print, []), "never run"),
    ],
)
def test_other_pickles_are_named(content: object, message: str, tmp_path: Path) -> None:
    write_dat(tmp_path, content)
    with pytest.raises(DataError, match=rf"8192pts_fps\.dat[\s\S]*{message}"):
        build(tmp_path, NAME, "pointllm")


def test_hdf5_links_to_other_files_are_not_followed(h5_layout: Path) -> None:
    h5py = pytest.importorskip("h5py")
    folder = h5_layout / "modelnet40_ply_hdf5_2048"
    with h5py.File(folder / "ply_data_test0.h5", "a") as file:
        del file["data"]
        file["data"] = h5py.ExternalLink("ply_data_train0.h5", "/data")
    with pytest.raises(DataError, match="no array of this file"):
        build(h5_layout, NAME, "h5")


def test_a_damaged_hdf5_file_is_named(h5_layout: Path) -> None:
    write(h5_layout / "modelnet40_ply_hdf5_2048/ply_data_test0.h5", "no HDF5")
    with pytest.raises(DataError, match=r"ply_data_test0\.h5"):
        build(h5_layout, NAME, "h5")


def test_another_gravity_axis_is_turned_to_y(text_layout: Path) -> None:
    fixed = ("point_processor.eval.resample=first", "point_processor.eval.normalize=False")
    released = build(text_layout, NAME, "default", *fixed)["test"][0]["point_cloud"]
    change = "build_info.points.up_axis=z"
    turned = build(text_layout, NAME, "default", *fixed, change)["test"][0]["point_cloud"]
    x, y, z = released.unbind(1)
    torch.testing.assert_close(turned, torch.stack([x, z, -y], 1))


def test_an_unknown_axis_or_layout_is_refused(text_layout: Path) -> None:
    for change in ("build_info.points.up_axis=w", "build_info.layout=off"):
        with pytest.raises(ConfigError, match=change.partition("=")[0].rpartition(".")[2]):
            build(text_layout, NAME, "default", change)


def test_an_unknown_class_is_named_with_the_nearest(text_layout: Path) -> None:
    path = text_layout / "modelnet40_normal_resampled/modelnet40_test.txt"
    path.write_text("aeroplane_0001\n")
    with pytest.raises(DataError, match=r"'aeroplane' is no class\. Did you mean 'airplane'"):
        build(text_layout, NAME)


def test_missing_files_are_named_together(text_layout: Path) -> None:
    folder = text_layout / "modelnet40_normal_resampled"
    (folder / "modelnet40_test.txt").unlink()
    (folder / "modelnet40_train.txt").unlink()
    with pytest.raises(DataError, match=r"annotations\.train\.storage[\s\S]*annotations\.test"):
        build(text_layout, NAME)
