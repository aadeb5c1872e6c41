"""Experiment trackers: copies of the numbers in `log.jsonl`.

A tracker has `log(step, values)` and `close()`. A tracker whose package is not installed is refused
before training. One that fails later causes a warning and, after `MAX_FAILURES` failures in a row,
is left out for the rest of the run.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from lavis.common.dist_utils import is_main_process
from lavis.common.errors import ConfigError

MAX_FAILURES = 3


class Tracker(Protocol):
    """Takes scalars."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take {tag: number} of an optimiser step; tags look like "train/loss"."""

    def close(self) -> None:
        """Flush and close."""


class TensorBoard:
    """An event file in `<job folder>/tensorboard` (view: tensorboard --logdir output)."""

    package = "tensorboard"

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker`."""
        for tag, value in values.items():
            self._writer.add_scalar(tag, value, step)
        self._writer.flush()

    def close(self) -> None:
        """See `Tracker`."""
        self._writer.close()


class WandbLike:
    """wandb, or trackio, which has the same three functions; optional dependencies."""

    package = "wandb"

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        self._module = importlib.import_module(self.package)
        options = {"project": folder.parent.name, "name": folder.name, "config": dict(config)}
        if self.package == "wandb":
            options |= {"dir": str(folder), "resume": "allow", "id": folder.name}
        self._module.init(**options)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker`."""
        self._module.log(dict(values), step=step)

    def close(self) -> None:
        """See `Tracker`."""
        self._module.finish()


class Trackio(WandbLike):
    """trackio: local, no account."""

    package = "trackio"


TRACKERS: dict[str, Callable[[Path, Mapping[str, Any]], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WandbLike,
    "trackio": Trackio,
}
INSTALL = {"tensorboard": "-r requirements-tensorboard.txt"}


def require_packages(names: Sequence[str]) -> None:
    """Check that the packages of trackers are installed.

    Raises:
        ConfigError: one is not; the message has the pip command.
    """
    for name in names:
        package = getattr(TRACKERS[name], "package", None)
        if package is not None and importlib.util.find_spec(package) is None:
            raise ConfigError(
                f"The tracker {name} needs the package {package}, which is not installed.",
                where="run.trackers",
                got=list(names),
                fix=f"pip install {INSTALL.get(name, package)}, or leave {name} out",
            )


class Trackers:
    """All trackers of a run, on rank 0; failures are logged, not raised.

    Args:
        names: of `TRACKERS`.
        folder: the job's folder.
        config: the resolved configuration.

    Raises:
        ConfigError: the package of a tracker is not installed (on every rank).
    """

    def __init__(self, names: Sequence[str], folder: Path, config: Mapping[str, Any]) -> None:
        self._trackers: dict[str, Tracker] = {}
        self._failures: dict[str, int] = {}
        require_packages(names)
        for name in names if is_main_process() else ():
            try:
                self._trackers[name] = TRACKERS[name](folder, config)
            except Exception as error:  # a tracker may raise anything and must not end a run
                logging.warning("run.trackers: %s is left out: %s", name, error)

    def log(self, kind: str, step: int, row: Mapping[str, Any]) -> None:
        """Hand on the numbers of a log row as "<kind>/<name>"."""
        numbers = {
            f"{kind}/{name}": float(value)
            for name, value in row.items()
            if isinstance(value, (int, float)) and not isinstance(value, bool)
        }
        for name, tracker in list(self._trackers.items()):
            try:
                tracker.log(step, numbers)
                self._failures[name] = 0
            except Exception as error:  # see above
                self._failed(name, error)

    def _failed(self, name: str, error: Exception) -> None:
        self._failures[name] = self._failures.get(name, 0) + 1
        if self._failures[name] == 1:
            logging.warning("run.trackers: %s failed, training continues: %s", name, error)
        if self._failures[name] >= MAX_FAILURES:
            logging.warning("run.trackers: %s is left out from here on", name)
            del self._trackers[name]

    def close(self) -> None:
        """Close every tracker."""
        for name, tracker in self._trackers.items():
            try:
                tracker.close()
            except Exception as error:  # see above
                logging.warning("run.trackers: %s did not close: %s", name, error)
        self._trackers = {}
