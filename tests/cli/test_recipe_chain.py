"""`make demo` and `make full`: every recipe finds what an earlier command has written."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

GOALS = ("demo", "full", "retrieved")
TRAINING = Path("lavis/projects/bricks/train")


def commands(root: Path, goal: str) -> list[str]:
    """Return what `make` would run, in order."""
    listed = subprocess.run(
        ["make", "-n", goal], cwd=root, capture_output=True, text=True, check=True
    )
    return listed.stdout.splitlines()


def argument(command: str, flag: str) -> str | None:
    """Return what follows a flag."""
    found = re.search(rf"{flag} (\S+)", command)
    return found[1] if found else None


def weights_read(config: Any) -> Iterator[str]:
    """Yield the weights that a recipe reads from a run's outputs."""
    for key in ("pretrained", "finetuned", "point_encoder_weights"):
        path = config.model.get(key)
        if path and path.startswith("output/"):
            yield path


def checkpoints_written(config: Any) -> set[str]:
    """Return the checkpoints of a training recipe; the best one takes a validation."""
    names = ["last", *(["best"] if config.run.get("valid_splits") else [])]
    return {f"{config.run.output_dir}/{config.run.job_id}/checkpoint_{name}.pth" for name in names}


@pytest.mark.parametrize("goal", GOALS)
def test_weights_were_written_by_an_earlier_command(repo_root: Path, goal: str) -> None:
    written: set[str] = set()
    read: set[str] = set()
    for command in commands(repo_root, goal):
        written |= {argument(command, "--out")} - {None}
        recipe = argument(command, "--cfg-path")
        if recipe is None:
            continue
        config = OmegaConf.load(repo_root / recipe)
        missing = set(weights_read(config)) - written
        assert not missing, f"{recipe}: no command before it writes them"
        read |= set(weights_read(config))
        if "train.py" in command:
            written |= checkpoints_written(config)
    assert read


def test_every_training_recipe_is_launched(repo_root: Path) -> None:
    launched = {
        argument(command, "--cfg-path") for goal in GOALS for command in commands(repo_root, goal)
    }
    assert {str(TRAINING / path.name) for path in (repo_root / TRAINING).iterdir()} <= launched
