"""Figure 22: a full or read-only disk at every file that a run writes.

The files are found by tracing: an audit hook of Python sees every `open` for writing and every
folder, rename and link of a run, wherever it comes from. Then the run is repeated for each of them,
and the hook lets that one fail.
"""

from __future__ import annotations

import errno
import importlib.util
import logging
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.faults.processes import Figure
from benchmarks.faults.tiny_run import TinyTask, tiny_runner
from lavis.common.errors import PointLanguageError
from lavis.tasks.point_task import Scores, write_results

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND
CHANGES = ("os.mkdir", "os.rename", "os.symlink", "os.link")


class Tracer:
    """Record writes below a folder; optionally fail at one name."""

    def __init__(self) -> None:
        self.folder, self.code, self.target = "", 0, ""
        self.seen: dict[str, None] = {}
        self.hits = 0
        sys.addaudithook(self._event)  # stays until the process ends

    def _event(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.folder or not (event in CHANGES or event == "open"):
            return
        path = arguments[1] if event in ("os.rename", "os.symlink", "os.link") else arguments[0]
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & WRITES):
            return
        if not isinstance(path, str | bytes) or not os.fsdecode(path).startswith(self.folder):
            return
        name = self.name(os.fsdecode(path))
        self.seen.setdefault(name)
        if name == self.target:
            self.hits += 1
            raise OSError(self.code, os.strerror(self.code), os.fsdecode(path))

    def name(self, path: str) -> str:
        """Return a path below the folder without what differs between two runs."""
        short = os.path.relpath(path, self.folder)
        short = re.sub(r"\.[a-z0-9_]{8}\.tmp$", ".*.tmp", short)
        return re.sub(r"\d+", "#", re.sub(r"tfevents.*", "tfevents", short))


class WritingTask(TinyTask):
    """The tiny task, which writes result files as real tasks do."""

    def after_evaluation(self, val_result: list[Any], **kwargs: Any) -> dict[str, Any]:
        """See `TinyTask`."""
        metrics = super().after_evaluation(val_result, **kwargs)
        folder = Path(kwargs["runner"].result_dir)
        scores = Scores(metrics={}, baselines={}, agg_metrics=metrics["agg_metrics"])
        write_results(folder, kwargs["split_name"], val_result, dict(metrics), scores)
        return metrics


def train(folder: Path) -> int:
    """Run a tiny training; return the steps that were done."""
    has_tensorboard = importlib.util.find_spec("tensorboard") is not None
    trackers = ["tensorboard"] if has_tensorboard else []
    options = {"on_save_error": "continue", "max_epoch": 2, "save_freq": 3, "trackers": trackers}
    runner = tiny_runner(folder, "job", size=32, task=WritingTask(), **options)
    runner.train()
    return runner.state.global_step


def outcome(tracer: Tracer, run: Callable[[], int], steps: int) -> str:
    """Return "went on", "stopped: …" or what is wrong."""
    try:
        done = run()
    except PointLanguageError as error:
        text = str(error)
        named = "where:" in text or str(tracer.folder) in text
        return "stopped by name" if named else f"wrong: no file in {text[:300]}"
    except BaseException as error:
        return f"wrong: {type(error).__name__}: {error}"
    if not tracer.hits:
        return "wrong: not reached"
    return "went on" if done == steps else f"wrong: {done} of {steps} steps"


def fig22(folder: Path, quick: bool) -> Figure:
    """A run ends well without the file, or with one message that names it."""
    logging.disable(logging.CRITICAL)
    tracer = Tracer()
    tracer.folder = str(folder / "whole")
    steps = train(folder / "whole")
    names = list(tracer.seen)[:: 4 if quick else 1]
    codes = [errno.ENOSPC] if quick else [errno.ENOSPC, errno.EROFS, errno.EACCES]
    found = {}
    for number, name in enumerate(names):
        for code in codes:
            own = folder / f"run{number}-{code}"
            tracer.folder, tracer.target, tracer.code, tracer.hits = str(own), name, code, 0
            found[f"{name} {errno.errorcode[code]}"] = outcome(
                tracer,
                lambda own=own: train(own),
                steps,  # type: ignore[misc]
            )
    tracer.folder = ""
    wrong = {name: end for name, end in found.items() if end.startswith("wrong")}
    measured = {
        "files": len(tracer.seen),
        "runs": len(found),
        "went_on": sum(end == "went on" for end in found.values()),
        "stopped_by_name": sorted(n for n, end in found.items() if end == "stopped by name"),
        "wrong": wrong,
    }
    return Figure(not wrong and len(names) > 7, measured)
