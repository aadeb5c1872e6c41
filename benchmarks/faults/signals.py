"""Figures 6 and 7: signals to ranks and launcher, and kills with a restart by the launcher."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.faults.compare import checkpoint_difference
from benchmarks.faults.processes import (
    Figure,
    read_json,
    run_under_launcher,
    start_ranks,
    wait_all,
    write_json,
)
from benchmarks.faults.tiny_run import TinyTask, tiny_runner
from lavis.common.checkpoint import load_checkpoint_file
from lavis.common.checkpoint_folder import LAST, find_newest
from lavis.common.dist_utils import get_rank
from lavis.common.errors import Preempted
from lavis.runners.loss_curve import read_rows

RANKS = 2


class SlowTask(TinyTask):
    """Takes its time, in training and in evaluation."""

    def train_step(self, model: Any, samples: Mapping[str, Any]) -> Any:
        """Return the losses after a while."""
        time.sleep(0.01)
        return super().train_step(model, samples)

    def evaluation(self, model: Any, data_loader: Any, device: Any) -> list[Any]:
        """Return the records after a while."""
        time.sleep(0.2)
        return super().evaluation(model, data_loader, device)


def endless(folder: Path, job: str, eval_freq: int) -> None:
    """One rank of a run that only a signal ends; writes its pid and its exit code."""
    write_json(folder / f"{job}-pid{get_rank()}.json", os.getpid())
    try:
        tiny_runner(folder, job, task=SlowTask(), max_epoch=10_000, eval_freq=eval_freq).train()
    except Preempted as stopped:
        write_json(folder / f"{job}-exit{get_rank()}.json", stopped.exit_code)
        raise


def _wait_for_steps(log: Path, seconds: float = 120) -> None:
    """Return when training is on its way."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if log.is_file() and '"kind": "train"' in log.read_text():
            return
        time.sleep(0.02)
    raise TimeoutError(f"no step in {log}")


def _stop_one(folder: Path, job: str, target: str, signum: int, delay: float) -> dict[str, Any]:
    """Send a signal to one rank, all, or the launcher; return how the run ended."""
    log = folder / "log.txt"
    launched = target == "launcher"
    # A signal to one rank inside an evaluation ends the others by their lost connection.
    eval_freq = 10_000 if target == "one rank" else 4
    if launched:
        pids = [run_under_launcher(RANKS, "endless", [str(folder), job, eval_freq], log)]
    else:
        pids = start_ranks(RANKS, lambda: endless(folder, job, eval_freq), log)
    _wait_for_steps(folder / job / "log.jsonl")
    time.sleep(delay)
    started = time.monotonic()
    for pid in pids if target == "all" else pids[-1:]:
        os.kill(pid, signum)
    codes = wait_all(pids, 60)
    seconds = time.monotonic() - started
    if launched:  # the launcher's own code says less than those of its ranks
        files = [folder / f"{job}-exit{rank}.json" for rank in range(RANKS)]
        codes = [read_json(file) if file.is_file() else -1 for file in files]
    newest = find_newest(folder, job)
    saved = load_checkpoint_file(newest)["state"]["global_step"] if newest else -1
    steps = [row["step"] for row in read_rows(folder / job / "log.jsonl") if row["kind"] == "train"]
    return {"codes": codes, "seconds": seconds, "lost": max(steps) - saved}


def fig06(folder: Path, quick: bool) -> Figure:
    """SIGTERM and SIGINT at random instants of training and evaluation."""
    draw = random.Random(6)
    targets = ["one rank", "all", "launcher"]
    cases = [(targets[n % 3], signal.SIGTERM) for n in range(2 if quick else 20)]
    cases += [("all", signal.SIGINT)]
    results = [
        _stop_one(folder, f"case{n}", target, signum, draw.uniform(0.0, 0.6))
        for n, (target, signum) in enumerate(cases)
    ]
    right = [
        result["codes"] == [128 + signum] * RANKS
        for result, (_, signum) in zip(results, cases, strict=True)
    ]
    measured = {
        "right_exit_codes": sum(right),
        "of": len(cases),
        "most_steps_lost": max(result["lost"] for result in results),
        "longest_seconds": round(max(result["seconds"] for result in results), 2),
        "wrong": [r | {"case": c} for r, c, ok in zip(results, cases, right) if not ok],
    }
    passed = all(right) and measured["most_steps_lost"] <= 1 and measured["longest_seconds"] < 30
    return Figure(passed, measured)


class DyingTask(TinyTask):
    """The last rank of the first attempts kills itself in the given steps."""

    def __init__(self, steps: list[int]) -> None:
        super().__init__()
        attempt = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))
        self.death = steps[attempt] if attempt < len(steps) else None

    def train_step(self, model: Any, samples: Mapping[str, Any]) -> Any:
        """Return the losses, or die."""
        if len(self.trained_ids) == self.death and get_rank() == RANKS - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().train_step(model, samples)


def restarted(folder: Path, job: str, deaths: list[int]) -> None:
    """One rank of a run that resumes after each death."""
    options: dict[str, Any] = {"dropout": 0.5, "save_freq": 2, "resume_ckpt_path": "auto"}
    tiny_runner(folder, job, task=DyingTask(deaths), max_epoch=3, **options).train()


def fig07(folder: Path, quick: bool) -> Figure:
    """kill -9 one rank under the launcher's --max-restarts."""
    log, deaths = folder / "log.txt", [3] if quick else [3, 5, 2]
    codes = []
    for job, steps in (("whole", []), ("killed", deaths)):
        arguments = [str(folder), job, steps]
        pid = run_under_launcher(RANKS, "restarted", arguments, log, max_restarts=3)
        codes += wait_all([pid], 240)
    if codes != [0, 0]:
        return Figure(False, {"exit_codes": codes})
    apart = checkpoint_difference(folder / "whole" / LAST, folder / "killed" / LAST)
    resumes = sum(row["kind"] == "resume" for row in read_rows(folder / "killed" / "log.jsonl"))
    measured = {"kills": len(deaths), "resumes": resumes, "max_difference": apart}
    return Figure(apart == 0 and resumes == len(deaths), measured)
