"""The model of a training run's folder, and its processor of clouds, for files of a user."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lavis.common.errors import ConfigError
from lavis.config.sources import load_yaml
from lavis.processors import load_processor
from lavis.stock import registered

CHECKPOINT = "checkpoint_last.pth"


def load_run(
    folder: Path, arch: str | None = None, changes: Mapping[str, Any] | None = None
) -> tuple[Any, DictConfig]:
    """Return the trained model of a run, in evaluation mode, and the run's configuration.

    Args:
        folder: of a training run.
        arch: of the model; None takes any.
        changes: keys of its `model` section.

    Raises:
        ConfigError: no such run, or one of another model.
        CheckpointError: the checkpoint cannot be loaded.
    """
    path = folder / "config.yaml"
    if not path.is_file():
        what, fix = "no trained model", "train one (docs/systems), or name the folder of a run"
        raise ConfigError(what, where=f"--run {folder}", fix=fix)
    config = load_yaml(path, "--run")
    own = str(config.model.arch)
    if arch not in (None, own):
        what = "the run is of another model"
        raise ConfigError(what, where=str(path), got=own, expected=arch)
    trained = {"finetuned": str(folder.resolve() / CHECKPOINT), **(changes or {})}
    section = OmegaConf.merge(config.model, trained)
    keys = {key: value for key, value in section.items() if key not in ("arch", "model_type")}
    return registered("model", own).from_config(OmegaConf.create(keys)).eval(), config


def cloud_processor(config: DictConfig) -> Any:
    """Return the run's processor of clouds in evaluation, for files of any order and colour.

    Raises:
        ConfigError: the run has none.
    """
    found = [section.get("point_processor") for section in config.datasets.values()]
    section = next((one.eval for one in found if one is not None), None)
    if section is None:
        what = "the run has no processor of clouds"
        raise ConfigError(what, where="datasets.<name>.point_processor.eval")
    options = OmegaConf.merge(section, {"resample": "fps", "missing_color": 0.5})
    return load_processor(section.name, options)
