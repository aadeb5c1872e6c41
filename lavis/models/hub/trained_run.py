"""The model of a training run's folder, and its processor of clouds, for files of a user.

A checkpoint holds what its run trained, and every buffer. Start files (`START_KEYS`) are read where
they are still there; where they are gone, the checkpoint has to hold all but the frozen weights of
language models and teachers, which have a source of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import nn

from lavis.common.checkpoint import load_checkpoint_file
from lavis.common.errors import CheckpointError, ConfigError
from lavis.common.model_state import frozen_names
from lavis.common.utils import get_abs_path
from lavis.config.sources import as_plain, load_yaml, merge
from lavis.models.hub.folder import base_parts
from lavis.models.hub.system import START_KEYS
from lavis.processors import load_processor
from lavis.stock import registered

CHECKPOINT = "checkpoint_last.pth"
READ_KEYS = ("retrieval_head", "cache")  # files that inference needs, too


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
        CheckpointError: see `build_trained`.
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
    section = as_plain(merge(config.model, changes or {}))
    return build_trained(section, folder / CHECKPOINT), config


def build_trained(section: Mapping[str, Any], checkpoint: Path) -> Any:
    """Return a run's model with the weights of its checkpoint, in evaluation mode.

    Args:
        section: `model` section of the run, with `arch`.
        checkpoint: of the run.

    Raises:
        CheckpointError: the checkpoint cannot be loaded, or lacks weights whose file is gone.
    """
    own, gone = trained_section(section, checkpoint)
    keys = {key: value for key, value in own.items() if key not in ("arch", "model_type")}
    try:
        model = registered("model", str(own["arch"])).from_config(OmegaConf.create(keys))
    except CheckpointError as error:
        if not gone:
            raise
        first, *more = (line.strip() for line in str(error).splitlines())
        found = [line.removeprefix("got:").strip() for line in more if line.startswith("got:")]
        raise _incomplete(gone, "; ".join([first, *found])) from error
    if gone:
        _require_whole(model, own, gone)
    return model.eval()


def trained_section(
    section: Mapping[str, Any], checkpoint: Path
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the `model` section that loads a run's checkpoint, and its start files that are gone.

    Returns:
        The section: paths of start files as found, null where they are gone; no token cache, which
        holds the objects of training alone. {dotted key: file as named} of those that are gone.
    """
    gone: dict[str, str] = {}
    found = _with_found(section, checkpoint.parent, "model", gone)
    gone.pop("model.finetuned", None)  # a start too; the checkpoint takes its place
    return found | {"finetuned": str(checkpoint.resolve())}, gone


def find_file(named: str | Path, folder: Path) -> Path | None:
    """Return the file that a run's configuration names; None where it is gone.

    Args:
        named: below the repository's root, or absolute.
        folder: of the run. It may have been copied with the runs beside it: a file that lies as
            the name says, seen from the run, comes before the one below the root.
    """
    parts, own = Path(named).expanduser().parts, folder.resolve()
    # Checkpoints lie in a run's folder, other files there or beside it.
    depths = (2,) if parts[-1].startswith("checkpoint_") else (2, 1)
    copied = [
        parent.joinpath(*parts[-depth - k :])
        for depth in depths
        for k, parent in enumerate(own.parents)
        if depth + k <= len(parts)
    ]
    # Never its own checkpoint, which may have the name of its start's.
    places = [path for path in copied if path.parent != own]
    places.append(Path(get_abs_path(str(named))))
    return next((place.resolve() for place in places if place.exists()), None)


def _with_found(
    section: Mapping[str, Any], folder: Path, where: str, gone: dict[str, str]
) -> dict[str, Any]:
    """Return a section, and the nested models in it, with the start files that are there."""
    result = dict(section)
    for key, value in section.items():
        if _is_model(value):
            result[key] = _with_found(value, folder, f"{where}.{key}", gone)
        elif key in START_KEYS and value:
            path = find_file(value, folder)
            result[key] = None if path is None else str(path)
            if path is None:
                gone[f"{where}.{key}"] = str(value)
        elif key in READ_KEYS and isinstance(value, str):
            result[key] = str(find_file(value, folder) or value)
    if "token_cache" in result:
        result["token_cache"] = None
    return result


def _is_model(value: Any) -> bool:
    return isinstance(value, Mapping) and "arch" in value


def _require_whole(model: nn.Module, section: Mapping[str, Any], gone: Mapping[str, str]) -> None:
    """Check that every weight without a source of its own is in a file that was loaded.

    Raises:
        CheckpointError: names the weights, and the files that are gone.
    """
    read = tuple(f"{key}." for key in READ_KEYS if section.get(key))
    needed = {n for n in model.state_dict().keys() - _sourced(model) if not n.startswith(read)}
    for prefix, key, path in _files(section):
        if not needed:
            return
        if key == "point_encoder_weights":
            own = {n for n in needed if n.startswith(prefix)}
            held = {n for n in own if ".point_encoder." in f".{n.removeprefix(prefix)}"}
        else:
            payload = load_checkpoint_file(path, f"model.{key}", verify=False)
            held = {prefix + name for name in payload.get("model", payload)}
        needed -= held
    if needed:
        parts = sorted({name.rpartition(".")[0] or name for name in needed})
        more = f" and {len(parts) - 3} more" if len(parts) > 3 else ""
        raise _incomplete(gone, f"no weights of {', '.join(parts[:3])}{more}")


def _sourced(model: nn.Module) -> set[str]:
    """Return the names of frozen weights in language models and teachers."""
    prefixes = tuple(f"{prefix}." for prefix, _ in base_parts(model))
    return {name for name in frozen_names(model) if name.startswith(prefixes)}


def _files(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield (prefix of names in the model, key, path) of the files that a section loads."""
    for key in ("finetuned", *START_KEYS):  # the run's own checkpoint first: it may be all
        if section.get(key):
            yield prefix, key, section[key]
    for key, value in section.items():
        if _is_model(value):
            yield from _files(value, f"{prefix}{key}.")


def _incomplete(gone: Mapping[str, str], lacking: str) -> CheckpointError:
    """Return the error of a checkpoint that needs a file which is gone."""
    return CheckpointError(
        "The checkpoint's base model is missing.",
        where=", ".join(gone),
        got=lacking,
        expected=f"{', '.join(dict.fromkeys(gone.values()))}, below the root or beside the run",
        fix="copy the folder of that run beside this one",
    )


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
