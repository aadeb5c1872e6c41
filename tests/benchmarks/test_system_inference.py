"""Inference is measured on a trained run where there is one, else on the recipe's model."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import torch
from lavis.common.registry import registry

from benchmarks import system_inference
from benchmarks.system_inference import SYSTEMS, Job, find_run, measure, trained_folder
from lavis.common.checkpoint import save_checkpoint
from lavis.common.model_state import trainable_state
from lavis.config.run_config import RunConfig
from lavis.evaluation.leaderboard import ROWS

RECIPE = "text4point/train/rooms_segmentation"


@pytest.fixture
def run(tmp_path: Path, repo_root: Path, tiny_bert: str) -> tuple[Path, int]:
    """The folder of a run of a tiny Text4Point, in a folder of runs, and its parameters."""
    options = [f"model.text_teacher={tiny_bert}", "model.embed_dim=32", "model.query_heads=2"]
    options += ["model.point_encoder.widths=[8,12,16]", "model.point_encoder.voxel_size=0.5"]
    recipe = repo_root / f"lavis/projects/{RECIPE}.yaml"
    config = RunConfig.from_file(recipe, [*options, "model.pretrained=null"])
    model = registry.get_model_class("text4point_segmentation").from_config(config.model_cfg)
    folder = tmp_path / "text4point" / "rooms_segmentation"
    folder.mkdir(parents=True)
    save_checkpoint({"model": trainable_state(model)}, folder / "checkpoint_last.pth", step=7)
    config.save(folder / "config.yaml")
    return folder, sum(parameter.numel() for parameter in model.parameters())


@pytest.fixture(autouse=True)
def _own_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_every_system_is_a_row_of_the_leaderboard_with_existing_recipes(repo_root: Path) -> None:
    assert SYSTEMS.keys() <= ROWS.keys()
    for parts in SYSTEMS.values():
        for recipe in parts.values():
            assert (repo_root / f"lavis/projects/{recipe}.yaml").is_file()


def test_a_run_is_measured_as_often_as_the_time_allows(run: tuple[Path, int]) -> None:
    folder, parameters = run
    row = measure(vars(Job(RECIPE, str(folder), "segment", 8, 16, 0.0, "cpu")))
    assert (row["objects"], row["repeats"], row["parameters"]) == (1, 1, parameters)
    assert row["per_second"] == pytest.approx(1 / row["cpu_seconds"], rel=0.05)
    assert row["num_beams"] is None
    assert 0.05 < row["peak_gb"] < 20


def test_the_run_of_a_recipe_is_found_in_the_folder_that_is_given(run: tuple[Path, int]) -> None:
    folder, _ = run
    assert trained_folder(RECIPE).name == folder.name
    for given in (folder, folder.parent):
        assert find_run("text4point", RECIPE, {"text4point": str(given)}) == folder
    with pytest.raises(SystemExit, match="no trained run"):
        find_run("text4point", RECIPE, {"text4point": str(folder.parents[1])})


def test_a_run_that_is_given_has_the_name_of_a_system() -> None:
    assert system_inference._pair("demo=a=b") == ("demo", "a=b")
    for text in ("demo", "demos=a"):
        with pytest.raises(argparse.ArgumentTypeError, match="point-bind"):
            system_inference._pair(text)
