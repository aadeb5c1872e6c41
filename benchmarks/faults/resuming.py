"""Figures 1, 2 and 8: a resumed run is the undisturbed one."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.faults.compare import checkpoint_difference
from benchmarks.faults.processes import Figure, read_json, run_ranks, write_json
from benchmarks.faults.tiny_run import TinyTask, tiny_runner
from lavis.common.checkpoint import load_checkpoint_file
from lavis.common.checkpoint_folder import LAST
from lavis.common.dist_utils import get_rank
from lavis.common.errors import CheckpointError
from lavis.runners.loss_curve import curves, read_rows

# 48 samples, 8 a step in two batches: 6 steps and 12 batches an epoch.
OPTIONS: dict[str, Any] = {
    "accum_grad_iters": 2,
    "dropout": 0.5,
    "ema_decay": 0.9,
    "save_freq": 1,
    "max_epoch": 2,
}


class Stopped(Exception):
    """Stands for a crash."""


class StoppedTask(TinyTask):
    """Crashes in the given batch, mid-accumulation or not."""

    def __init__(self, batch: int) -> None:
        super().__init__()
        self.batch = batch

    def train_step(self, model: Any, samples: Mapping[str, Any]) -> Any:
        """Return the losses, or crash."""
        if len(self.trained_ids) == self.batch:
            raise Stopped
        return super().train_step(model, samples)


def stop_and_resume(
    folder: Path, job: str, batch: int, **options: Any
) -> tuple[Path, list[list[str]]]:
    """Crash in `batch`, resume in another job; return its checkpoint and the ids of all steps."""
    task = StoppedTask(batch)
    with contextlib.suppress(Stopped):
        tiny_runner(folder, f"{job}-cut", task=task, **options).train()
    path = folder / f"{job}-cut" / LAST
    rest = tiny_runner(folder, f"{job}-rest", resume_ckpt_path=str(path), seed=99, **options)
    done = load_checkpoint_file(path)["state"]["global_step"] * options["accum_grad_iters"]
    rest.train()
    return folder / f"{job}-rest" / LAST, task.trained_ids[:done] + rest.parts.task.trained_ids


def _stops(quick: bool) -> list[tuple[int, int]]:
    """Return (batch, workers): random, and the epoch's edge."""
    count = 4 if quick else 20
    batches = [*random.Random(1).sample(range(2, 24), count - 2), 12, 13]
    return [(batch, (0, 2, 4)[n % 3]) for n, batch in enumerate(batches)]


def fig01(folder: Path, quick: bool) -> Figure:
    """Stop at random batches, resume, compare everything."""
    whole = tiny_runner(folder, "whole", **OPTIONS)
    whole.train()
    distances = []
    for number, (batch, workers) in enumerate(_stops(quick)):
        options = OPTIONS | {"num_workers": workers}
        end, _ = stop_and_resume(folder, f"n{number}", batch, **options)
        distances.append(checkpoint_difference(folder / "whole" / LAST, end))
    control = _without_position(folder)
    passed = not any(distances) and control > 0
    measured = {
        "equal": sum(d == 0 for d in distances),
        "of": len(distances),
        "max_difference": max(distances),
        "control_without_position": control,
    }
    return Figure(passed, measured)


def _without_position(folder: Path) -> float:
    """Return the difference when the position in the epoch is dropped: must not be 0."""
    with contextlib.suppress(Stopped):
        tiny_runner(folder, "control", task=StoppedTask(8), **OPTIONS).train()
    rest = tiny_runner(folder, "control-rest", **OPTIONS)
    rest.parts.run_cfg.resume_ckpt_path = str(folder / "control" / LAST)
    rest.checkpoints.resume()
    rest.state.step_in_epoch, rest.parts.run_cfg.resume_ckpt_path = 0, None
    rest.train()
    model = [
        load_checkpoint_file(folder / job / LAST)["model"] for job in ("whole", "control-rest")
    ]
    return float((model[0]["head.weight"] - model[1]["head.weight"]).abs().max())


def fig02(folder: Path, quick: bool) -> Figure:
    """Order and multiset of instance ids after a resume."""
    whole = tiny_runner(folder, "whole", **OPTIONS)
    whole.train()
    expected = whole.parts.task.trained_ids
    lost = repeated = other_order = 0
    for number, (batch, workers) in enumerate(_stops(quick)):
        options = OPTIONS | {"num_workers": workers}
        _, seen = stop_and_resume(folder, f"n{number}", batch, **options)
        wanted, found = (Counter(i for ids in all_ids for i in ids) for all_ids in (expected, seen))
        lost += sum((wanted - found).values())
        repeated += sum((found - wanted).values())
        other_order += seen != expected
    measured = {"lost": lost, "repeated": repeated, "in_another_order": other_order}
    return Figure(not (lost or repeated or other_order), measured)


class LeavingTask(TinyTask):
    """Sends SIGTERM to its own process in the given step."""

    def __init__(self, step: int | None) -> None:
        super().__init__()
        self.step = step

    def train_step(self, model: Any, samples: Mapping[str, Any]) -> Any:
        """Return the losses; ask for a stop first when it is time."""
        if self.step is not None and len(self.trained_ids) == self.step and get_rank() == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().train_step(model, samples)


def _part(folder: Path, job: str, leave_after: int | None, name: str) -> None:
    """One rank of one part of a run; writes the ids that it trained on."""
    task = LeavingTask(leave_after)
    runner = tiny_runner(folder, job, task=task, max_epoch=3, resume_ckpt_path="auto")
    try:
        runner.train()
    finally:
        write_json(folder / f"{name}-rank{get_rank()}.json", task.trained_ids)


def fig08(folder: Path, quick: bool) -> Figure:
    """Resume over 4 -> 2 -> 1 -> 4 ranks at the same global batch of 8."""
    plan: list[tuple[int, int | None]] = [(4, 3), (2, 4), (1, 3), (4, None)]
    run_ranks(1, lambda: _part(folder, "whole", None, "whole"), folder / "log.txt")
    codes, seen = [], []
    for part, (ranks, leave_after) in enumerate(plan):
        name = f"part{part}"
        codes.append(
            run_ranks(
                ranks,
                lambda leave=leave_after, name=name: _part(folder, "moved", leave, name),
                folder / "log.txt",
            )
        )
        parts = [read_json(folder / f"{name}-rank{rank}.json") for rank in range(ranks)]
        seen += [list(itertools.chain(*batches)) for batches in zip(*parts, strict=True)]
    refused = _other_batch(folder)
    losses = [curves(read_rows(folder / job / "log.jsonl"))["loss"] for job in ("whole", "moved")]
    apart = max(abs(losses[0][step] - losses[1][step]) for step in losses[0])
    ids = [Counter(i for batch in seen[start : start + 6] for i in batch) for start in (0, 6, 12)]
    once = all(len(count) == 48 and set(count.values()) == {1} for count in ids)
    expected = [[143] * 4, [143] * 2, [143], [0] * 4]
    measured = {
        "max_loss_difference": apart,
        "each_id_once_per_epoch": once,
        "exit_codes": codes,
        "another_batch_is_refused": refused,
    }
    passed = apart < 1e-6 and once and codes == expected and len(seen) == 18 and refused
    return Figure(passed, measured)


def _other_batch(folder: Path) -> bool:
    """Return whether a resume inside an epoch with another global batch is refused."""
    with contextlib.suppress(Stopped):
        tiny_runner(folder, "odd", task=StoppedTask(4), **OPTIONS).train()
    path = str(folder / "odd" / LAST)
    options = OPTIONS | {"resume_ckpt_path": path}
    try:
        tiny_runner(folder, "odd-rest", global_batch=6, **options).train()
    except CheckpointError:
        return True
    return False
