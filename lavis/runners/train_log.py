"""What a run reports: a progress bar with ETA on rank 0, one JSON line per event, trackers.

`log.jsonl` rows have `kind`: start, train, eval, resume, skipped_step, save_failed, preempted or
end. A `train` row holds the means since the previous one: losses (over all ranks), temperature,
gradient norm, learning rate, objects/s, the share of time spent waiting for data, and the peak of
memory.
"""

from __future__ import annotations

import json
import logging
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from lavis.common.dist_utils import all_gather_object_list, is_main_process
from lavis.common.files import append_line
from lavis.common.strict_json import to_plain
from lavis.runners.trackers import Trackers


def write_row(path: Path, kind: str, values: Mapping[str, Any]) -> None:
    """Append one row to the JSON-lines file `path` on rank 0; a row that is lost stops no run."""
    if is_main_process():
        row = {"kind": kind, "time": round(time.time(), 3), **to_plain(values)}
        try:
            append_line(path, json.dumps(row, default=str))
        except OSError as error:
            logging.warning("%s: a %s row is lost: %s", path, kind, error)


def peak_memory_gb() -> float:
    """Return the most memory this process has used: of the GPU if it has one, or resident."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 2**30
    scale = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes there, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 2**30


def mean_over_ranks(values: Mapping[str, float]) -> dict[str, float]:
    """Return the mean of each entry over the ranks that have it (every rank must call)."""
    gathered = all_gather_object_list(dict(values))
    names = {name: None for rank_values in gathered for name in rank_values}
    result = {}
    for name in names:
        present = [rank_values[name] for rank_values in gathered if name in rank_values]
        result[name] = sum(present) / len(present)
    return result


class TrainLog:
    """Collects step values, writes `log.jsonl`, shows progress.

    Args:
        path: the JSON-lines file (rank 0 appends to it).
        total_steps: optimiser steps of the run, for the bar.
        first_step: optimiser steps already done (resume).
        log_freq: optimiser steps between `train` rows.
        trackers: also receive the numbers of every row; None: `log.jsonl` only.
    """

    def __init__(
        self,
        path: Path,
        total_steps: int,
        first_step: int,
        log_freq: int,
        trackers: Trackers | None = None,
    ) -> None:
        self.path, self.log_freq, self.trackers = path, log_freq, trackers
        self._interactive = sys.stderr.isatty()
        self._bar = tqdm(
            total=total_steps,
            initial=first_step,
            desc="training",
            unit="step",
            disable=not is_main_process(),
            mininterval=0.5 if self._interactive else 20.0,
        )
        self._clear()

    def _clear(self) -> None:
        self._sums: dict[str, Any] = {}
        self._counts: dict[str, int] = {}
        self._steps, self._objects, self._wait = 0, 0, 0.0
        self._since = time.perf_counter()

    def skip_pause(self, seconds: float) -> None:
        """Leave a pause (evaluation, saving) out of the throughput."""
        self._since += seconds

    def add(self, values: Mapping[str, Any], objects: int, wait: float) -> None:
        """Add one step: scalars (tensors stay on the device), objects, seconds of data wait."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0) + 1
        self._steps, self._objects, self._wait = (
            self._steps + 1,
            self._objects + objects,
            self._wait + wait,
        )
        self._bar.update(1)

    def report(self, epoch: int, step: int, learning_rate: float) -> dict[str, Any]:
        """Write one `train` row with the means since the previous one (every rank must call)."""
        seconds = max(1e-9, time.perf_counter() - self._since)
        means = {name: float(total) / self._counts[name] for name, total in self._sums.items()}
        means["data_wait_share"] = self._wait / seconds
        row = {
            "epoch": epoch,
            "step": step,
            **mean_over_ranks(means),
            "lr": learning_rate,
            "objects_per_s": self._objects / seconds,
            "memory_gb": peak_memory_gb(),
        }
        self.write("train", row)
        loss = f"{row['loss']:.4f}" if "loss" in row else "skipped"
        shown = {"epoch": epoch, "loss": loss, "lr": f"{learning_rate:.2e}"}
        self._bar.set_postfix(shown, refresh=False)
        if not self._interactive:
            speed = f"{row['objects_per_s']:.1f} objects/s"
            logging.info("step %d/%d %s %s", step, self._bar.total, shown, speed)
        self._clear()
        return row

    @property
    def pending(self) -> bool:
        """Return whether steps were added since the last row."""
        return self._steps > 0

    def write(self, kind: str, values: Mapping[str, Any]) -> None:
        """Append one row on rank 0 and hand its numbers to the trackers."""
        write_row(self.path, kind, values)
        if self.trackers is not None and "step" in values:
            self.trackers.log(kind, int(values["step"]), values)

    def close(self) -> None:
        """Finish the progress bar."""
        self._bar.close()
