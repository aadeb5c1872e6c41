"""Figure 15: thousands of steps, hundreds of saves, a tracker that fails."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.faults.processes import Figure
from benchmarks.faults.tiny_run import TinyTask, tiny_runner
from lavis.common.checkpoint import is_valid
from lavis.runners import trackers


class FailingTracker:
    """Raises at every call."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        self.calls = 0

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Fail."""
        self.calls += 1
        raise ConnectionError("the tracking server is gone")

    def close(self) -> None:
        """Fail."""
        raise ConnectionError("the tracking server is gone")


class WatchedTask(TinyTask):
    """Notes memory and open files on the way."""

    def __init__(self, every: int) -> None:
        super().__init__()
        self.every, self.steps = every, 0
        self.memory: list[int] = []
        self.files: list[int] = []

    def train_step(self, model: Any, samples: Mapping[str, Any]) -> Any:
        """Return the losses."""
        self.trained_ids.clear()  # would grow by itself
        if self.steps % self.every == self.every - 1:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.memory.append(pages * resource.getpagesize())
            self.files.append(len(os.listdir("/proc/self/fd")))
        self.steps += 1
        return super().train_step(model, samples)


def _train(folder: Path, job: str, steps: int, names: list[str]) -> tuple[WatchedTask, float]:
    task = WatchedTask(max(1, steps // 20))
    options: dict[str, Any] = {"save_freq": 50, "keep_checkpoints": 3, "log_freq": 10}
    options |= {"max_steps": steps, "max_epoch": 10_000, "eval_freq": 10_000, "trackers": names}
    runner = tiny_runner(folder, job, size=4800, task=task, **options)
    started = time.process_time()  # other work on the machine must not count
    runner.train()
    return task, time.process_time() - started


def fig15(folder: Path, quick: bool) -> Figure:
    """Growth of memory and file handles, retention, and the cost of a broken tracker."""
    steps = 600 if quick else 10_000
    trackers.TRACKERS["failing"] = FailingTracker  # in this forked process only
    try:
        _train(folder, "warm-up", steps // 10, [])  # the first run of a process pays
        task, seconds = _train(folder, "job", steps, ["failing"])
        _, without = _train(folder, "without", steps, [])
    finally:
        del trackers.TRACKERS["failing"]
    names = sorted(path.name for path in (folder / "job").glob("checkpoint*.pth"))
    settled = task.memory[len(task.memory) // 4 :]  # after the allocator's first quarter
    growth = settled[-1] / settled[0] - 1
    loss = seconds / without - 1
    measured = {
        "steps": task.steps,
        "rss_growth": growth,
        "open_files": [min(task.files), max(task.files)],
        "checkpoints": names,
        "throughput_loss_with_failing_tracker": loss,
        "cpu_ms_per_step": 1e3 * without / steps,
    }
    passed = (
        task.steps == steps
        and growth < 0.02
        and len(set(task.files[2:])) == 1
        and len(names) == 4
        and all(is_valid(folder / "job" / name) for name in names)
        and (quick or loss < 0.03)
    )
    return Figure(passed, measured)
