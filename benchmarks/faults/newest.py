"""Figure 16: the newest checkpoint is that of the highest step, and nothing newer is moved."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

from benchmarks.faults.processes import Figure
from benchmarks.faults.tiny_run import tiny_runner
from lavis.common.checkpoint_folder import LAST, predecessors
from lavis.common.errors import CheckpointError
from lavis.runners.loss_curve import read_rows

STEPS = 5
JOB_IDS = ("plain", "a*b", "[x]", "q?mark", "a[!b]", "{x,y}", "é ü", "-", "%s", "$HOME")


def _copy_without_times(source: Path, target: Path, draw: random.Random) -> None:
    """Copy file by file in a random order, as `cp -r`, scp or an object store do."""
    target.mkdir(parents=True)
    for path in draw.sample(sorted(source.glob("checkpoint*")), len(list(source.glob("check*")))):
        (target / path.name).write_bytes(path.read_bytes())


def _clock_set_back(source: Path, target: Path, draw: random.Random) -> None:
    """Copy, and make the newest file the oldest by its time."""
    _copy_without_times(source, target, draw)
    for age, path in enumerate(sorted(target.iterdir())):
        os.utime(path, (1e9 + age, 1e9 + age))


def _equal_times(source: Path, target: Path, draw: random.Random) -> None:
    """Copy to a file system that keeps no times."""
    _copy_without_times(source, target, draw)
    for path in target.iterdir():
        os.utime(path, (0, 0))


def _whole_folder(source: Path, target: Path, draw: random.Random) -> None:
    """Copy the whole folder with its log and settings."""
    shutil.copytree(source, target, copy_function=shutil.copyfile)


FAULTS: tuple[Callable[[Path, Path, random.Random], None], ...] = (
    *(_copy_without_times, _clock_set_back, _equal_times, _whole_folder),
)


def fig16(folder: Path, quick: bool) -> Figure:
    """Copy a job in several ways under several names, resume each, and from its older files."""
    draw = random.Random(16)
    first = tiny_runner(folder, "first", max_steps=STEPS, save_freq=1, keep_checkpoints=3)
    first.train()
    ids = JOB_IDS[:3] if quick else JOB_IDS
    cases = [(f"{job}{n}", fault) for job in ids for n, fault in enumerate(FAULTS)]
    newest = moved = refused = 0
    for job, fault in cases:
        fault(folder / "first", folder / "copies" / job, draw)
        refused += _older_is_refused(folder / "copies", job)
        before = _contents(folder / "copies" / job)
        runner = tiny_runner(
            *(folder / "copies", job),
            max_steps=STEPS + 1,
            resume_ckpt_path="auto",
            keep_checkpoints=3,
        )
        runner.checkpoints.resume()
        newest += runner.state.global_step == STEPS
        moved += _contents(folder / "copies" / job) != before
        runner.train()
        rows = read_rows(folder / "copies" / job / "log.jsonl")
        newest += [r["step"] for r in rows if r["kind"] == "train"][-1] == STEPS + 1
    measured = {"of": len(cases), "from_the_newest": newest // 2, "moved": moved}
    measured["older_refused"] = refused
    return Figure(newest == 2 * len(cases) == 2 * refused and not moved, measured)


def _contents(job: Path) -> dict[str, bytes]:
    """Return every checkpoint and manifest."""
    return {path.name: path.read_bytes() for path in job.glob("checkpoint*")}


def _older_is_refused(folder: Path, job: str) -> bool:
    """Return whether going on from an older file of the folder is refused, everything left."""
    older = predecessors(folder / job)[0][1]
    assert older.name != LAST
    before = _contents(folder / job)
    with contextlib.suppress(CheckpointError):
        tiny_runner(folder, job, max_steps=STEPS + 1, resume_ckpt_path=str(older)).train()
        return False
    return _contents(folder / job) == before
