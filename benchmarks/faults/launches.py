"""Figure 20: concurrent launches of one job, of one second, and of one preparation."""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.faults.processes import Figure, fork, read_json, wait_all, write_json
from benchmarks.faults.tiny_run import TinyTask, tiny_runner
from lavis.common.errors import ConfigError
from lavis.common.files import file_sha256
from lavis.common.folder_owner import NAME
from lavis.common.launch import resolve_job
from lavis.runners.loss_curve import read_rows
from lavis.runners.outputs import held_folder

STEPS = 6


class SlowTask(TinyTask):
    """Takes its time, so that every launch meets the first."""

    def train_step(self, model: Any, samples: Any) -> Any:
        """Return the losses after a while."""
        time.sleep(0.2)
        return super().train_step(model, samples)


def _hold_and_train(folder: Path, job: str) -> None:
    """One launch of a job, as train.py does it."""
    try:
        with held_folder(str(folder), job):
            tiny_runner(folder, job, task=SlowTask(), max_steps=STEPS, save_freq=1).train()
    except ConfigError as refused:
        print(refused, flush=True)
        sys.exit(2)


def _at_once(count: int, function: Callable[[int], Any], log: Path) -> list[int]:
    """Run `function(number)` in so many processes that start together; return the exit codes."""
    start = time.monotonic() + 0.2

    def later(number: int) -> None:
        time.sleep(max(0.0, start - time.monotonic()))
        function(number)

    return wait_all([fork(lambda n=n: later(n), log) for n in range(count)], 120)


def _one_job(folder: Path, rounds: int, draw: random.Random) -> dict[str, Any]:
    """Launch a job four times at once; before each round but the first, kill a holder."""
    single = named = rows = 0
    for number in range(rounds):
        job, log = f"job{number}", folder / f"job{number}.txt"
        if number:
            killed = fork(lambda job=job: _hold_and_train(folder, job), log)
            while not (folder / job / NAME).is_file():
                time.sleep(0.01)
            time.sleep(draw.uniform(0, 0.3))
            os.kill(killed, signal.SIGKILL)
            os.waitpid(killed, 0)
            (folder / job / "log.jsonl").unlink(missing_ok=True)
        codes = _at_once(4, lambda _, job=job: _hold_and_train(folder, job), log)
        single += sorted(codes) == [0, 2, 2, 2]
        named += log.read_text().count("got:      process ") == 3
        steps = [r["step"] for r in read_rows(folder / job / "log.jsonl") if r["kind"] == "train"]
        rows += steps == list(range(1, STEPS + 1))
    return {"rounds": rounds, "one_holder": single, "holder_named": named, "one_log": rows}


def _one_second(folder: Path, count: int) -> int:
    """Return how many folders so many runs without a name get that start together."""
    run_cfg = Namespace(output_dir=str(folder / "times"), resume_ckpt_path=None)
    run_cfg.get = lambda key: getattr(run_cfg, key, None)
    names = [folder / f"name{number}.json" for number in range(count)]
    _at_once(count, lambda n: write_json(names[n], resolve_job(run_cfg)), folder / "names.txt")
    return len({read_json(path) for path in names})


def _one_preparation(folder: Path, parts: int) -> dict[str, bool]:
    """Prepare one folder from three processes at once, and another one alone."""
    from lavis.datasets.download_scripts.prepare_bricks import prepare_bricks

    def prepare(target: Path) -> None:
        logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
        prepare_bricks(target, num_points=64, limit=parts, progress=False)

    log = folder / "prepare.txt"
    codes = _at_once(3, lambda _: prepare(folder / "bricks"), log)
    prepare(folder / "alone")
    same = [_hashes(folder / name) for name in ("bricks", "alone")]
    return {
        "all_end": codes == [0, 0, 0],
        "same_bytes": same[0] == same[1] != {},
        "holder_named": log.read_text().count("Waiting for process ") == 2,
    }


def _hashes(folder: Path) -> dict[str, str]:
    """Return the hash of every file below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): file_sha256(path) for path in files}


def fig20(folder: Path, quick: bool) -> Figure:
    """Launch at the same time what may run once."""
    jobs = _one_job(folder, 2 if quick else 10, random.Random(20))
    count = 4 if quick else 16
    folders = _one_second(folder, count)
    prepared = _one_preparation(folder, 40 if quick else 400)
    once = all(value == jobs["rounds"] for value in jobs.values())
    measured = {"one_job": jobs, "folders_of_one_second": f"{folders} of {count}"}
    measured |= {"one_preparation": prepared}
    return Figure(once and folders == count and all(prepared.values()), measured)
