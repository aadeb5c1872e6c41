"""Objaverse in the files of the PointBLIP release: formats, splits, augmentation, bad input."""

from __future__ import annotations

import json
import logging
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from lavis.common.registry import registry
from omegaconf import DictConfig, OmegaConf

import lavis  # noqa: F401  (registers roots and builders)
from lavis.common.errors import ConfigError, DataError
from lavis.config.run_config import RunConfig
from lavis.datasets.builders.base_dataset_builder import load_dataset_config
from lavis.datasets.sources.objaverse_files import (
    HeldOut,
    read_captions,
    read_ids,
    word_remover,
)
from lavis.datasets.stores import cloud_check
from lavis.processors.point_transforms import Tilt, rotation_xyz
from lavis.processors.published_transforms import PointObjaverseTrainProcessor

UIDS = [f"{index:032x}" for index in range(24)]
LISTED, REST = UIDS[:16], UIDS[16:]
CAPTION = "A small red house number {}."


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """24 clouds of 256 points; 16 uids in the training list; captions for all."""
    rng = np.random.default_rng(0)
    for uid in UIDS:
        write_cloud(tmp_path, uid, rng.standard_normal((256, 3)).astype(np.float32))
    captions = {uid: CAPTION.format(index) for index, uid in enumerate(UIDS)}
    for name in ("merged_data_new.json", "overal_description_merged.json"):
        (tmp_path / name).write_text(json.dumps(captions), encoding="utf-8")
    (tmp_path / "objaverse/common_ids.txt").write_text("\n".join(LISTED) + "\n", encoding="utf-8")
    return tmp_path


def write_cloud(root: Path, uid: str, cloud: np.ndarray, **kinds: np.ndarray) -> Path:
    """Write <uid>/<uid>_8192.npz as ULIP-2 does."""
    folder = root / "objaverse/objaverse_pc_parallel" / uid
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{uid}_8192.npz"
    np.savez(path, cloud, **kinds)
    return path


def config(root: Path, name: str = "objaverse_caption", *changes: str) -> DictConfig:
    """Return a builder's yaml with paths below `root` and 64 points a cloud."""
    builder_cls = registry.get_builder_class(name)
    cfg = load_dataset_config(builder_cls.default_config_path())
    info = cfg.build_info
    for holder, key in [
        *((info.annotations[split], "storage") for split in ("train", "val", "test")),
        (info.ids, "storage"),
        (info.points, "storage"),
        (info.points, "check_cache"),
    ]:
        if holder[key] is not None:
            holder[key] = str(root / holder[key])
    cfg.point_processor.train.num_points = cfg.point_processor.eval.num_points = 64
    return OmegaConf.merge(cfg, OmegaConf.from_dotlist(list(changes)))


def build(root: Path, name: str = "objaverse_caption", *changes: str) -> dict:
    """Build the data sets of a builder."""
    return registry.get_builder_class(name)(config(root, name, *changes)).build_datasets()


def ids(dataset) -> list[str]:
    return [entry["object_id"] for entry in dataset.annotation]


def test_release_files_become_samples(layout: Path) -> None:
    datasets = build(layout)
    assert list(datasets) == ["train"]
    assert ids(datasets["train"]) == LISTED
    sample = datasets["train"][3]
    assert sample["point_cloud"].shape == (64, 3)
    assert sample["point_cloud"].dtype == torch.float32
    assert sample["instance_id"] == sample["object_id"] == UIDS[3]
    assert sample["caption"] == CAPTION.format(3)
    assert sample["text_input"] == "a small red house number 3"
    batch = datasets["train"].collater([datasets["train"][i] for i in range(4)])
    assert batch["point_cloud"].shape == (4, 64, 3)


def test_listed_uids_without_a_caption_are_not_trained_on(layout: Path, caplog) -> None:
    path = layout / "merged_data_new.json"
    captions = json.loads(path.read_text())
    del captions[LISTED[0]]
    path.write_text(json.dumps(captions))
    with caplog.at_level(logging.INFO):
        datasets = build(layout)
    assert ids(datasets["train"]) == LISTED[1:]
    assert "15 of 16 listed uids" in caplog.text


def test_tuning_captions_lose_colour_words_and_split_by_the_training_list(layout: Path) -> None:
    datasets = build(layout, "objaverse_caption_tune")
    assert ids(datasets["train"]) == LISTED
    assert ids(datasets["test"]) == REST
    assert datasets["test"][0]["caption"] == "A small house number 16."
    assert ids(datasets["test"].reference_dataset()) == LISTED


@pytest.mark.parametrize("change", ["build_info.holdout.fraction=0.4", "test_ids"])
def test_no_builder_trains_on_what_the_other_scores(layout: Path, change: str) -> None:
    if change == "test_ids":
        (layout / "held.txt").write_text("\n".join([*LISTED[:3], REST[0]]))
        change = f"build_info.ids.test_storage={layout / 'held.txt'}"
    trained = set(ids(build(layout, "objaverse_caption", change)["train"]))
    tuned = build(layout, "objaverse_caption_tune", change)
    scored = set(ids(tuned["test"]))
    assert scored & set(LISTED), "nothing of the list is held out"
    assert not scored & trained
    assert not scored & set(ids(tuned["train"]))
    assert not scored & set(ids(tuned["test"].reference_dataset()))


def test_holdout_share_depends_on_uid_and_seed_alone() -> None:
    many = [f"uid{index}" for index in range(4000)]
    held = {uid for uid in many if uid in HeldOut(frozenset(many), None, 0.25, seed=0)}
    fewer = {uid for uid in many[::2] if uid in HeldOut(frozenset(many[::2]), None, 0.25, seed=0)}
    assert 0.22 < len(held) / len(many) < 0.28
    assert fewer == held & set(many[::2])
    assert held != {uid for uid in many if uid in HeldOut(frozenset(many), None, 0.25, seed=1)}


def test_empty_evaluation_split_names_both_keys(layout: Path) -> None:
    (layout / "objaverse/common_ids.txt").write_text("\n".join(UIDS))
    with pytest.raises(DataError, match=r"'test' is empty(.|\n)*annotations\.test(.|\n)*holdout"):
        build(layout, "objaverse_caption_tune")


def test_missing_files_come_in_one_message_with_keys_and_sources(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        build(tmp_path)
    message = str(caught.value)
    for part in (
        "datasets.objaverse_caption.build_info.annotations.train.storage",
        "datasets.objaverse_caption.build_info.ids.storage",
        "datasets.objaverse_caption.build_info.points.storage",
        str(tmp_path / "merged_data_new.json"),
        "SFXX/ulip",
        "Cap3D",
    ):
        assert part in message


def damage(root: Path, kind: str, uid: str) -> None:
    """Spoil one cloud."""
    path = root / "objaverse/objaverse_pc_parallel" / uid / f"{uid}_8192.npz"
    good = path.read_bytes()
    if kind == "missing":
        path.unlink()
    elif kind == "truncated":
        path.write_bytes(good[: len(good) // 2])
    elif kind == "compressed garbage":
        np.savez_compressed(path, np.random.default_rng(0).standard_normal((256, 3)))
        content = bytearray(path.read_bytes())
        content[60:120] = b"\xff" * 60  # an unknown kind of block: zlib.error
        path.write_bytes(content)
    elif kind == "other array":
        np.savez(path, points=np.ones((4, 3)))
    else:
        clouds = {
            "NaN": np.full((256, 3), np.nan, np.float32),
            "columns": np.zeros((256, 4), np.float32),
            "no points": np.zeros((0, 3), np.float32),
            "pickle": np.array([{"a": 1}], dtype=object),
        }
        np.savez(path, clouds[kind])


BAD = ["missing", "truncated", "compressed garbage", "other array", "NaN", "columns"]
BAD += ["no points", "pickle"]


@pytest.mark.parametrize("kind", BAD)
def test_bad_cloud_is_left_out_and_named(layout: Path, kind: str, caplog) -> None:
    damage(layout, kind, LISTED[5])
    datasets = build(layout, "objaverse_caption", "build_info.max_bad_fraction=0.1")
    assert ids(datasets["train"]) == [uid for uid in LISTED if uid != LISTED[5]]
    assert [bad["instance_id"] for bad in datasets["train"].bad_samples] == [LISTED[5]]
    assert LISTED[5] in caplog.text
    with pytest.raises(DataError, match=LISTED[5]):
        build(layout, "objaverse_caption", "build_info.max_bad_fraction=0.05")


def test_bad_cloud_met_on_the_way_is_named_when_clouds_are_not_checked(layout: Path) -> None:
    damage(layout, "truncated", LISTED[5])
    dataset = build(layout, "objaverse_caption", "build_info.points.check=False")["train"]
    assert len(dataset) == 16
    with pytest.raises(DataError, match=LISTED[5]):
        dataset[5]


def test_unusable_captions_count_as_bad(layout: Path) -> None:
    captions = dict.fromkeys(UIDS, "a chair") | {LISTED[0]: "  ", LISTED[1]: ["a", 3]}
    (layout / "merged_data_new.json").write_text(json.dumps(captions))
    with pytest.raises(DataError, match="2 of 16 records"):
        build(layout)
    dataset = build(layout, "objaverse_caption", "build_info.max_bad_fraction=0.2")["train"]
    assert ids(dataset) == LISTED[2:]


def test_checked_clouds_are_read_again_only_when_they_change(layout: Path, monkeypatch) -> None:
    read: list[str] = []
    original = cloud_check.check_one

    def counted(store, uid):
        read.append(uid)
        return original(store, uid)

    monkeypatch.setattr(cloud_check, "check_one", counted)
    build(layout)
    assert sorted(read) == sorted(LISTED)
    read.clear()
    damage(layout, "truncated", LISTED[2])
    dataset = build(layout, "objaverse_caption", "build_info.max_bad_fraction=0.1")["train"]
    assert read == [LISTED[2]]
    assert len(dataset) == 15
    read.clear()
    (layout / "objaverse/cloud_check.json").write_text('{"format": 1, "clouds"')
    build(layout, "objaverse_caption", "build_info.max_bad_fraction=0.1")
    assert sorted(read) == sorted(LISTED)


def test_clouds_of_any_size_are_resampled_with_one_warning(layout: Path, caplog) -> None:
    rng = np.random.default_rng(1)
    write_cloud(layout, LISTED[0], rng.standard_normal((20, 3)).astype(np.float32))
    write_cloud(layout, LISTED[1], rng.standard_normal((30_000, 3)).astype(np.float32))
    dataset = build(layout)["train"]
    assert {dataset[index]["point_cloud"].shape for index in range(3)} == {(64, 3)}
    assert caplog.text.count("they are resampled") == 1
    assert "1 with 20" in caplog.text


def test_within_a_run_only_its_splits_are_built(layout: Path) -> None:
    path = layout / "recipe.yaml"
    name = "objaverse_caption_tune"
    sections = OmegaConf.create(
        {
            "model": {"arch": "point_blip", "model_type": "pretrain"},
            "datasets": {name: config(layout, name)},
            "run": {"task": "point_captioning", "output_dir": str(layout / "out")},
        }
    )
    sections.run |= {"evaluate": True, "test_splits": ["test"]}
    OmegaConf.save(sections, path)
    cfg = RunConfig(Namespace(cfg_path=str(path), options=[]))
    datasets = registry.get_builder_class(name)(cfg.datasets_cfg[name]).build_datasets()
    assert list(datasets) == ["test"]
    options = ["run.evaluate=False", "run.max_epoch=1", "run.test_splits=[]"]
    cfg = RunConfig(Namespace(cfg_path=str(path), options=options))
    datasets = registry.get_builder_class(name)(cfg.datasets_cfg[name]).build_datasets()
    assert list(datasets) == ["train"]


def test_evaluation_without_training_objects_has_an_empty_reference(layout: Path) -> None:
    captions = dict.fromkeys(REST, "a chair")
    (layout / "overal_description_merged.json").write_text(json.dumps(captions))
    change = "build_info.annotations.train.storage=null"
    datasets = build(layout, "objaverse_caption_tune", change)
    assert list(datasets) == ["test"]
    assert len(datasets["test"].reference_dataset()) == 0


def test_limits_choose_the_same_objects_every_time(layout: Path) -> None:
    change = "build_info.limit.train=5"
    first, second = (build(layout, "objaverse_caption", change)["train"] for _ in range(2))
    assert ids(first) == ids(second)
    assert len(first) == 5


@pytest.mark.parametrize("content", ["[1, 2]", "{}", "{broken", ""])
def test_caption_file_of_another_form_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "captions.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"some\.key: .*captions\.json"):
        read_captions(path, "some.key")


def test_uid_list_survives_blank_and_repeated_lines(tmp_path: Path, caplog) -> None:
    path = tmp_path / "ids.txt"
    path.write_text("\ufeffa\r\n\r\n b \r\na\r\n", encoding="utf-8")
    assert read_ids(path, "k") == ["a", "b"]
    assert "1 repeated" in caplog.text
    path.write_text("\n \n")
    with pytest.raises(DataError, match="empty"):
        read_ids(path, "k")


def test_pattern_without_the_uid_is_refused(layout: Path) -> None:
    for pattern in ("cloud.npz", "{uid}.npz"):
        with pytest.raises(ConfigError, match=r"points\.pattern"):
            build(layout, "objaverse_caption", f"build_info.points.pattern='{pattern}'")


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a red car", "a car"),
        ("Red car", "car"),
        ("a reddish redwood", "a reddish redwood"),
        ("red-haired doll in blue, white.", "red-haired doll in,."),
    ],
)
def test_only_whole_colour_words_go(caption: str, expected: str) -> None:
    assert word_remover(["red", "blue", "white"])(caption) == expected


def test_tilt_is_a_small_rotation() -> None:
    cloud = np.random.default_rng(0).standard_normal((100, 3)).astype(np.float32)
    largest = 0.0
    for seed in range(50):
        turned = Tilt(0.06, 0.18)({"xyz": cloud}, np.random.default_rng(seed))["xyz"]
        np.testing.assert_allclose(
            np.linalg.norm(turned, axis=1), np.linalg.norm(cloud, axis=1), rtol=1e-5
        )
        matrix = np.linalg.lstsq(cloud, turned, rcond=None)[0]
        largest = max(largest, np.arccos(np.clip((np.trace(matrix) - 1) / 2, -1, 1)))
    assert 0.05 < largest <= 0.18 * np.sqrt(3) + 1e-3
    np.testing.assert_allclose(rotation_xyz(0.0, 0.0, np.pi / 2) @ [1, 0, 0], [0, 1, 0], atol=1e-12)


def test_training_processor_has_the_strengths_of_the_release() -> None:
    cloud = np.random.default_rng(0).standard_normal((8192, 3)).astype(np.float32)
    process = PointObjaverseTrainProcessor.from_config({})
    dropped, radii = [], []
    for seed in range(20):
        augmented = process(cloud, np.random.default_rng(seed)).numpy()
        assert augmented.shape == (8192, 3)
        assert np.isfinite(augmented).all()
        dropped.append((augmented == augmented[0]).all(1).mean())
        radii.append(np.linalg.norm(augmented - augmented.mean(0), axis=1).max())
    assert max(dropped) <= 0.9
    assert min(dropped) < 0.3 < max(dropped)
    assert max(radii) < 1.25 + 1.0
    same = [process(cloud, np.random.default_rng(7)) for _ in range(2)]
    assert torch.equal(*same)


def test_training_processor_refuses_unknown_keys() -> None:
    with pytest.raises(ConfigError, match="tilt_sigma"):
        PointObjaverseTrainProcessor.from_config({"tilt_sigm": 0.1})
    with pytest.raises(ConfigError, match="drop_max"):
        PointObjaverseTrainProcessor.from_config({"drop_max": 1.5})
