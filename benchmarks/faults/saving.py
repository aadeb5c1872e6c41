"""Figures 3, 4 and 5: kills, damage and full disks."""

from __future__ import annotations

import errno
import logging
import os
import random
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch

from benchmarks.faults.processes import Figure, fork, run_ranks
from benchmarks.faults.tiny_run import tiny_runner
from lavis.common import checkpoint
from lavis.common.checkpoint import is_valid, load_checkpoint_file, manifest_path
from lavis.common.checkpoint_folder import LAST, find_newest, predecessors, save_newest
from lavis.common.errors import CheckpointError
from lavis.runners.loss_curve import read_rows

KEEP = 3


def _payload(step: int, numbers: int = 100_000) -> dict[str, Any]:
    return {"step": step, "weights": torch.full((numbers,), float(step))}


def _save_forever(folder: Path, step: int) -> None:
    while True:
        step += 1
        save_newest(_payload(step), folder, step, KEEP)


def fig03(folder: Path, quick: bool) -> Figure:
    """SIGKILL at random instants of saving."""
    kills, draw = (12 if quick else 200), random.Random(3)
    job = folder / "job"
    job.mkdir()
    save_newest(_payload(1), job, 1, KEEP)
    started = time.perf_counter()
    save_newest(_payload(2), job, 2, KEEP)
    one_save = time.perf_counter() - started
    loaded = wrong = invalid = 0
    steps = [2]
    for _ in range(kills):
        pid = fork(lambda: _save_forever(job, steps[-1]))
        time.sleep(draw.uniform(0.005, 0.02 + 6 * one_save))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        newest = find_newest(folder)
        if newest is None:
            continue
        content = load_checkpoint_file(newest)
        loaded += 1
        wrong += bool((content["weights"] != content["step"]).any()) or content["step"] < steps[-1]
        steps.append(content["step"])
        visible = [job / LAST, *(path for _, path in predecessors(job))]
        invalid += sum(manifest_path(p).is_file() and not is_valid(p) for p in visible)
    measured = {
        "newest_valid_loads": loaded,
        "of": kills,
        "wrong_content": wrong,
        "partial_files_with_manifest": invalid,
        "checkpoints_written": steps[-1],
    }
    passed = loaded == kills and not wrong and not invalid and steps[-1] > kills // 2
    return Figure(passed, measured)


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """Collect what is logged."""
    texts: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: texts.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    try:
        yield texts
    finally:
        logging.getLogger().removeHandler(handler)


def fig04(folder: Path, quick: bool) -> Figure:
    """One byte flipped, or the end cut off, in the newest checkpoint."""
    cases, draw = (20 if quick else 100), random.Random(4)
    job = folder / "job"
    job.mkdir()
    for step in (1, 2):
        save_newest(_payload(step, 1000), job, step, KEEP)
    newest = job / LAST
    whole = newest.read_bytes()
    detected = fell_back = named = 0
    for case in range(cases):
        content = bytearray(whole)
        place = draw.randrange(len(whole))
        if case % 2:
            content[place] ^= 1 << draw.randrange(8)
        else:
            del content[place:]
        newest.write_bytes(content)
        detected += not is_valid(newest)
        with _warnings() as texts:
            found = find_newest(folder)
        fell_back += found is not None and load_checkpoint_file(found)["step"] == 1
        named += any(str(newest) in text for text in texts)
    measured = {"detected": detected, "fell_back": fell_back, "named": named, "of": cases}
    return Figure(detected == fell_back == named == cases, measured)


def _raise(code: int) -> Callable[..., Any]:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise OSError(code, os.strerror(code))

    return fail


@contextmanager
def _small_files() -> Iterator[None]:
    """Let the system refuse files above 64 KiB, in the middle of a write."""
    old, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, 1)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)


def _faults() -> dict[str, Any]:
    """Return {name: context in which a save fails}."""
    patch = mock.patch.object
    full = SimpleNamespace(total=10, used=10, free=0)
    return {
        "too large (system limit, half written)": _small_files(),
        "ENOSPC at fsync": patch(checkpoint.os, "fsync", _raise(errno.ENOSPC)),
        "EIO at fsync": patch(checkpoint.os, "fsync", _raise(errno.EIO)),
        "EIO at rename": patch(checkpoint.os, "replace", _raise(errno.EIO)),
        "no space before writing": patch(checkpoint.shutil, "disk_usage", lambda path: full),
    }


def fig05(folder: Path, quick: bool) -> Figure:
    """Disk errors at a save: files, message, and what the run does."""
    results: dict[str, bool] = {}
    for name, fault in _faults().items():
        job = folder / str(len(results))
        job.mkdir()
        save_newest(_payload(1), job, 1, KEEP)
        message = ""
        try:
            with fault:
                save_newest(_payload(2), job, 2, KEEP)
        except CheckpointError as error:
            message = str(error)
        found = find_newest(folder, job.name)
        intact = found is not None and load_checkpoint_file(found)["step"] == 1
        said = "bytes free" in message and "at least" in message
        results[name] = intact and said and not list(job.glob(".*partial"))
    results["run continues"] = _run_with_full_disk(folder, "continue") == [0, 0]
    rows = read_rows(folder / "continue" / "log.jsonl")
    results["failure is logged"] = any(row["kind"] == "save_failed" for row in rows)
    results["run stops on both ranks"] = _run_with_full_disk(folder, "stop") == [2, 2]
    return Figure(all(results.values()), results)


def _run_with_full_disk(folder: Path, policy: str) -> list[int]:
    """Return the exit codes of two ranks whose disk is full from the third save on."""

    def run() -> None:
        saves: list[int] = []
        real = os.fsync

        def fsync(handle: int) -> None:
            saves.append(handle)
            if 6 < len(saves) < 20:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(handle)

        with mock.patch.object(checkpoint.os, "fsync", fsync):
            tiny_runner(folder, policy, save_freq=1, max_epoch=1, on_save_error=policy).train()

    return run_ranks(2, run, folder / "log.txt")
