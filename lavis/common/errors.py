"""Exceptions of this project. Messages state what, where, got, expected and the next step.

    raise ConfigError("a required key is missing", where="run.yaml: run.task", fix="add the key")

Catch `PointLanguageError` to catch them all. Every message has one line per part, so that a reader
finds the file and the key at once.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path


class PointLanguageError(Exception):
    """Base class of every error that this project raises on purpose.

    Args:
        what: one sentence that names the problem.
        where: file, key or tensor it concerns, e.g. ``"run.yaml: run.init_lr"``.
        got: what was found (left out when None).
        expected: what would have been right (left out when None).
        fix: the next step for the user.
    """

    def __init__(
        self,
        what: str,
        *,
        where: str | Path | None = None,
        got: object = None,
        expected: object = None,
        fix: str | None = None,
    ) -> None:
        parts = {"where": where, "got": got, "expected": expected, "next": fix}
        lines = [f"  {f'{name}:':<9} {part}" for name, part in parts.items() if part is not None]
        # Half a surrogate pair (of a file name, an option) cannot be printed or logged.
        text = "\n".join([what, *lines]).encode("utf-8", "backslashreplace").decode("utf-8")
        super().__init__(text)


class ConfigError(PointLanguageError):
    """A yaml file or an `--options` entry is wrong."""


class DataError(PointLanguageError):
    """A data file is missing, damaged or holds something unusable."""


class ShapeError(DataError):
    """A tensor has the wrong shape, dtype or range."""


class CheckpointError(PointLanguageError):
    """A checkpoint is missing, damaged or does not fit the model."""


class EvaluationError(PointLanguageError):
    """Predictions and references disagree, so a score would be wrong."""


class DependencyError(PointLanguageError):
    """An installed package is missing or has another version than the pinned one."""


class ProcessGroupError(PointLanguageError):
    """The processes of a run do not find each other."""


class StorageError(PointLanguageError, OSError):
    """A file cannot be written: the disk is full or read-only, or the folder is not ours."""


class NonFiniteLossError(PointLanguageError):
    """The loss or a gradient became NaN or infinite."""


class Preempted(PointLanguageError):
    """The run stopped at a signal (SIGTERM, SIGINT) after saving a checkpoint.

    Attributes:
        exit_code: 128 + signal number, as shells and schedulers expect (143, 130).
        agreed: every rank stops at the same step, so the process group can be left in order.
    """

    def __init__(self, signum: int, agreed: bool = True) -> None:
        super().__init__(f"stopped by signal {signum}; the run is saved and can be resumed")
        self.exit_code, self.agreed = 128 + signum, agreed


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ' Did you mean X?' for the known name closest to `name`, or '' when none is close."""
    close = difflib.get_close_matches(str(name), [str(k) for k in known], n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""


def nearest_file(path: Path, pattern: str = "*") -> str:
    """Return a hint on a missing file: the most similar name in its folder, or no such folder."""
    if not path.parent.is_dir():
        return f": the folder {path.parent} does not exist"
    return "." + nearest(path.name, [p.name for p in path.parent.glob(pattern) if p.is_file()])


def require_choice(what: str, value: str, choices: Sequence[str], where: str) -> None:
    """Refuse a value that is not one of a few.

    Args:
        what: what the value chooses, e.g. "dtype".
        value: from the yaml.
        choices: the allowed values.
        where: the yaml key.

    Raises:
        ConfigError: with the choices, and the nearest of them.
    """
    if value not in choices:
        raise ConfigError(
            f"unknown {what}.{nearest(str(value), choices)}",
            where=where,
            got=value,
            expected=" or ".join(choices),
        )
