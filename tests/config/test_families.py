"""One option sets a key of several data sets; what they state themselves stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

import lavis  # noqa: F401  (registers builders)
from lavis.common.errors import ConfigError
from lavis.config.families import spread_families
from lavis.config.run_config import RunConfig
from lavis.config.sources import as_plain

REGISTERED = ("own_caption", "own_qa", "bricks_caption", "bricks_qa", "scanqa")


def spread(datasets: Any, members: tuple[str, ...] = ("own_caption", "own_qa")) -> Any:
    return as_plain(
        spread_families(OmegaConf.create({"datasets": datasets}), members, REGISTERED)
    ).get("datasets")


def test_a_key_of_a_family_reaches_every_member() -> None:
    expected = {name: {"build_info": {"path": "data/mine"}} for name in ("own_caption", "own_qa")}
    assert spread({"own": {"path": "data/mine"}}) == expected


def test_other_families_and_nested_keys() -> None:
    given = {"bricks": {"limit": {"train": 4}}, "own_qa": {"type": "default"}}
    assert spread(given, ("bricks_qa", "own_qa")) == {
        "bricks_qa": {"build_info": {"limit": {"train": 4}}},
        "own_qa": {"type": "default"},
    }


def test_what_a_member_states_itself_stays() -> None:
    given = {"own": {"path": "a", "size_drop": 0.1}, "own_qa": {"build_info": {"path": "b"}}}
    found = spread(given)
    assert found["own_qa"]["build_info"] == {"path": "b", "size_drop": 0.1}
    assert found["own_caption"]["build_info"] == {"path": "a", "size_drop": 0.1}


@pytest.mark.parametrize(
    "datasets", [{"owl": {"path": "a"}}, {"scanqa": {"build_info": {}}}, {"own": 3}, ["own"], None]
)
def test_what_is_no_family_stays(datasets: Any) -> None:
    assert spread(datasets) == datasets


RECIPE = """
model: {arch: point_blip, model_type: bricks}
datasets:
  bricks: {size_drop: 0.25, augmentation_seed: 7}
  bricks_caption: {build_info: {size_drop: 0.5}}
  bricks_qa:
run: {task: point_text_pretrain, runner: runner_point, max_epoch: 1, output_dir: output/x}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


def test_an_option_of_a_family_wins_over_the_recipe(recipe: Path, tmp_path: Path) -> None:
    config = RunConfig.from_file(recipe, ["datasets.bricks.size_drop=0.1"])
    infos = [config.datasets_cfg[name].build_info for name in ("bricks_caption", "bricks_qa")]
    assert [info.size_drop for info in infos] == [0.1, 0.1]
    assert [info.augmentation_seed for info in infos] == [7, 7]
    config.save(tmp_path / "saved.yaml")
    assert RunConfig.from_file(tmp_path / "saved.yaml").config == config.config


def test_a_recipe_without_the_option(recipe: Path) -> None:
    datasets = RunConfig.from_file(recipe).datasets_cfg
    assert datasets.bricks_caption.build_info.size_drop == 0.5
    assert datasets.bricks_qa.build_info.size_drop == 0.25


@pytest.mark.parametrize(
    ("option", "named"),
    [
        ("datasets.bricks.size_dorp=1", "size_dorp"),
        ("datasets.objaverse.size_drop=1", r"datasets\.objaverse"),
        ("datasets.brick.size_drop=1", r"datasets\.brick"),
        ("datasets.bricks=1", r"datasets\.bricks"),
    ],
)
def test_a_misspelt_family_or_key_is_refused(recipe: Path, option: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        RunConfig.from_file(recipe, [option])
