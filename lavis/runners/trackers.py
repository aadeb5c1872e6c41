"""Where a run's numbers go beside `log.jsonl`: one small interface, and none may stop the training.

A tracker has `log(step, values)` and `close()`. One that fails is named in a warning and, after
`MAX_FAILURES` in a row, left out for the rest of the run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from lavis.common.dist_utils import is_main_process

MAX_FAILURES = 3


class Tracker(Protocol):
    """Takes scalars."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take {tag: number} of an optimiser step; tags look like "train/loss"."""

    def close(self) -> None:
        """Flush; nothing comes after."""


class TensorBoard:
    """An event file in `<job folder>/tensorboard` (view: tensorboard --logdir output)."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        from lavis.runners.tensorboard_events import EventFile

        self._events = EventFile(folder / "tensorboard")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker`."""
        self._events.add(step, values)

    def close(self) -> None:
        """See `Tracker`."""
        self._events.close()


class WandbLike:
    """wandb, or trackio, which has the same three functions; installed by who wants it."""

    package = "wandb"

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        import importlib

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


class Trackers:
    """All trackers of a run, on rank 0; failures are logged and forgiven.

    Args:
        names: of `TRACKERS`.
        folder: the job's folder.
        config: the resolved configuration.
    """

    def __init__(self, names: Sequence[str], folder: Path, config: Mapping[str, Any]) -> None:
        self._trackers: dict[str, Tracker] = {}
        self._failures: dict[str, int] = {}
        for name in names if is_main_process() else ():
            try:
                self._trackers[name] = TRACKERS[name](folder, config)
            except Exception as error:  # a tracker may raise anything, and none is worth a run
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
            logging.warning("run.trackers: %s failed, training goes on: %s", name, error)
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
