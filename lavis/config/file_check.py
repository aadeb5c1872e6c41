"""Look for the weight files that a configuration names before anything is built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lavis.common.errors import CheckpointError, nearest
from lavis.common.utils import get_abs_path, get_cache_path, is_url

WEIGHTS = (".pth", ".pt", ".bin", ".ckpt", ".safetensors", ".gguf")


def check_files(config: Mapping[str, Any], where: str) -> None:
    """Refuse a `model` section or `run.resume_ckpt_path` that names a weight file which is absent.

    Data files are left to the builders, which may prepare them.

    Args:
        config: the resolved configuration as plain mappings.
        where: the recipe's path, for the message.

    Raises:
        CheckpointError: with the key, the path and the most similar file name in its folder.
    """
    sections = {"model": config["model"], "run": {"resume_ckpt_path": _resumed(config)}}
    for key, value in _weight_files(sections):
        path = Path(get_abs_path(value))
        if path.is_file() or Path(get_cache_path(value)).is_file() or is_url(value):
            continue
        folder = path.parent
        beside = [other.name for other in folder.iterdir()] if folder.is_dir() else []
        hint = nearest(path.name, beside) or ("" if beside else " Its folder is empty or absent.")
        raise CheckpointError(
            f"Weight file not found.{hint}",
            where=f"{where}: {key}",
            got=path,
            expected="an existing file, or null",
            fix=_source(key),
        )


def _source(key: str) -> str:
    """Return where the file of a key comes from."""
    # Imported here: only a message needs it, and common does not depend on models.
    from lavis.models.weights.files import SOURCES

    return SOURCES.get(key, "run the stage before this one, download the file, or correct the path")


def _resumed(config: Mapping[str, Any]) -> Any:
    path = config["run"].get("resume_ckpt_path")
    return None if path == "auto" else path


def _weight_files(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield (dotted key, path) of every text that names a weight file."""
    for key, value in section.items():
        if isinstance(value, Mapping):
            yield from _weight_files(value, f"{prefix}{key}.")
        elif isinstance(value, str) and value.endswith(WEIGHTS):
            yield f"{prefix}{key}", value
