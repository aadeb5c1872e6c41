"""Killed and resumed trainings of Text4Point on small rooms end in the bits of whole ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lavis.common.registry import registry
from omegaconf import OmegaConf

from benchmarks.faults.tiny_run import TinyConfig
from lavis.common.checkpoint import load_checkpoint_file
from lavis.datasets.builders.base_dataset_builder import load_dataset_config
from lavis.datasets.download_scripts.rooms.classes import SEEN
from lavis.runners.runner import PointRunner
from tests.datasets.download_scripts.rooms.box_furniture import (
    SMALL_PLAN,
    SMALL_ROOMS,
    prepare_small,
)

ENCODER = {"name": "sparse_unet", "point_dims": 6, "voxel_size": 0.2, "widths": [8, 12]}
DATA = {"pretrain": "rooms_frames", "segmentation": "rooms_segmentation"}
TASKS = {"pretrain": "point_text_pretrain", "segmentation": "point_segmentation"}


class Killed(Exception):
    """Ends a run between two steps, as a signal would without saving."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_small(tmp_path_factory.mktemp("rooms") / "rooms")


@pytest.fixture
def runner(folder: Path, tiny_bert: str, tmp_path: Path) -> Callable[..., PointRunner]:
    """Return a function (kind, job, stop, **run keys) -> runner that dies before step `stop`."""
    torch.set_num_threads(1)

    def make(kind: str, job: str, stop: int | None = None, **run: Any) -> PointRunner:
        torch.manual_seed(0)
        section = {"point_encoder": ENCODER, "text_teacher": tiny_bert, "embed_dim": 32}
        section |= {"query_heads": 2, "labels": list(SEEN)}
        own = {"decoder_dim": 8, "pairs": 64} if kind == "pretrain" else {}
        arch = "text4point" if kind == "pretrain" else f"text4point_{kind}"
        model = registry.get_model_class(arch).from_config(OmegaConf.create(section | own))
        common = {"task": TASKS[kind], "output_dir": str(tmp_path), "batch_size_train": 1}
        common |= {"max_epoch": 3, "save_freq": 1, "valid_splits": [], "test_splits": []}
        cfg = TinyConfig(**(common | run))
        task = registry.get_task_class(TASKS[kind])(cfg.run_cfg)
        if stop is not None:
            task.train_step = killed_at(stop, task.train_step)
        splits = {DATA[kind]: rooms(folder, DATA[kind])}
        return PointRunner(cfg=cfg, task=task, model=model, datasets=splits, job_id=job)

    return make


def killed_at(stop: int, step: Callable[..., Any]) -> Callable[..., Any]:
    """Return a training step that raises instead of step `stop`."""
    done = iter(range(stop + 1))

    def train_step(*args: Any, **kwargs: Any) -> Any:
        if next(done) == stop:
            raise Killed
        return step(*args, **kwargs)

    return train_step


def rooms(folder: Path, name: str) -> dict[str, Any]:
    """Build the data set of the small rooms, with the random steps of training."""
    builder = registry.get_builder_class(name)
    cfg = load_dataset_config(builder.default_config_path())
    points = cfg.build_info.points
    points.storage, points.num_rooms, points.frame_points = str(folder), SMALL_ROOMS, 500
    for key in ("num_points", "views", "width", "height"):
        points[key] = getattr(SMALL_PLAN, key)
    for section in cfg.build_info.annotations.values():
        section.storage = section.storage.replace("rooms/", f"{folder}/", 1)
    cfg.point_processor.train.num_points = 400
    return builder(cfg).build_datasets()


@pytest.mark.parametrize(("kind", "stop"), [("pretrain", 3), ("pretrain", 4), ("segmentation", 3)])
def test_resume_is_bit_exact(runner, tmp_path, kind, stop):
    whole = runner(kind, "whole")
    whole.train()
    with pytest.raises(Killed):
        runner(kind, "cut", stop).train()
    rest = runner(kind, "rest", resume_ckpt_path=str(tmp_path / "cut/checkpoint_last.pth"))
    torch.manual_seed(99)  # the state must come from the checkpoint
    rest.train()
    assert 0 < stop < whole.state.global_step == rest.state.global_step
    ends = [
        load_checkpoint_file(tmp_path / job / "checkpoint_last.pth") for job in ("whole", "rest")
    ]
    assert ends[0]["model"].keys() == ends[1]["model"].keys()
    for name, value in ends[0]["model"].items():
        assert torch.equal(value, ends[1]["model"][name]), name
    moments = [end["optimizer"]["state"][0]["exp_avg_sq"] for end in ends]
    assert torch.equal(*moments)
    assert torch.equal(*(end["rng"][0]["torch"] for end in ends))


def test_another_seed_gives_other_bits(runner, tmp_path):
    """Negative control: the comparison above can fail."""
    for seed in (1, 2):
        runner("pretrain", str(seed), seed=seed, max_epoch=1).train()
    first, second = (
        load_checkpoint_file(tmp_path / f"{seed}/checkpoint_last.pth")["model"] for seed in (1, 2)
    )
    name = "network.to_text.weight"
    assert not torch.equal(first[name], second[name])
