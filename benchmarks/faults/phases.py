"""Figure 25: SIGTERM, SIGINT and SIGHUP in every phase of a run, and a terminal that goes away."""

from __future__ import annotations

import os
import pty
import random
import signal
import time
from pathlib import Path
from typing import Any

from benchmarks.faults.compare import checkpoint_difference
from benchmarks.faults.launches import _hashes
from benchmarks.faults.processes import Figure, fork, wait_all
from benchmarks.faults.tiny_run import TinyModel, TinyTask, tiny_runner
from lavis.common import rng_state
from lavis.common.checkpoint_folder import LAST
from lavis.common.dist_utils import leave
from lavis.common.errors import Preempted
from lavis.common.preemption import leave_at_signals
from lavis.runners.outputs import held_folder

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
PHASES = ("preparation", "building", "training", "evaluation", "saving")
WAIT = 0.4  # seconds that the phase of the signal takes


class Phases:
    """Notes in a file that a phase began, and makes that phase slow once.

    Args:
        mark: written at the beginning of the phase; None: nothing is slow.
        phase: one of PHASES.
    """

    def __init__(self, mark: Path | None, phase: str) -> None:
        self.mark, self.phase = mark, phase

    def enter(self, phase: str) -> None:
        """Take a while in the chosen phase."""
        if self.mark is not None and phase == self.phase and not self.mark.exists():
            self.mark.touch()
            if phase != "preparation":  # takes seconds by itself
                time.sleep(WAIT)


class PhasedTask(TinyTask):
    """A task whose steps or evaluations take a while."""

    def __init__(self, phases: Phases) -> None:
        super().__init__()
        self.phases = phases

    def train_step(self, model: Any, samples: Any) -> Any:
        """Return the losses; the fourth step is slow."""
        if len(self.trained_ids) == 3:
            self.phases.enter("training")
        return super().train_step(model, samples)

    def evaluation(self, model: Any, data_loader: Any, device: Any) -> list[Any]:
        """Return the records."""
        self.phases.enter("evaluation")
        return super().evaluation(model, data_loader, device)


def whole_run(folder: Path, job: str, phases: Phases) -> None:
    """Prepare, build, train, evaluate and save, in the order and the frames of train.py."""
    from lavis.datasets.download_scripts.prepare_bricks import prepare_bricks

    for signum in SIGNALS:  # under nohup a run would rightly ignore SIGHUP
        if signal.getsignal(signum) == signal.SIG_IGN:
            signal.signal(signum, signal.SIG_DFL)
    with leave_at_signals("outside of training"):
        try:
            with held_folder(str(folder), job):
                if phases.phase == "preparation":
                    phases.enter("preparation")
                    prepare_bricks(folder / job / "bricks", 64, limit=40, progress=False)
                rng_state.reseed(42, 0, 0)  # train.py seeds
                phases.enter("building")
                model = TinyModel(0.5)
                model.register_state_dict_post_hook(lambda *_: phases.enter("saving"))
                options = {"max_epoch": 2, "save_freq": 2, "resume_ckpt_path": "auto"}
                task = PhasedTask(phases)
                tiny_runner(folder, job, task=task, model=model, **options).train()
        except Preempted as stopped:
            leave(stopped.exit_code)


def _signalled(folder: Path, phase: str, signum: int, delay: float) -> dict[str, Any]:
    """Send a signal in a phase, launch again, and compare with the undisturbed run."""
    job = f"{phase}{signum}"
    mark, log = folder / f"{job}.mark", folder / f"{job}.txt"
    pid = fork(lambda: whole_run(folder, job, Phases(mark, phase)), log)
    _wait_for(mark, log)
    time.sleep(delay)
    os.kill(pid, signum)
    code = wait_all([pid], 60)[0]
    text = log.read_text()
    again = wait_all([fork(lambda: whole_run(folder, job, Phases(None, phase)), log)], 120)[0]
    apart = checkpoint_difference(folder / "whole" / LAST, folder / job / LAST)
    good = code == 128 + signum and again == 0 and apart == 0 and "Traceback" not in text
    if phase == "preparation":
        good = good and _hashes(folder / job / "bricks") == _hashes(folder / "bricks")
        good = good and text.count("\n") == 1 and not list((folder / job).glob(".bricks.partial*"))
    return {"case": job, "good": good, "code": code, "again": again, "apart": apart}


def _wait_for(mark: Path, log: Path) -> None:
    """Return when the phase has begun."""
    end = time.monotonic() + 60
    while not mark.exists():
        if time.monotonic() > end:
            raise TimeoutError(log.read_text())
        time.sleep(0.01)


def _terminal_goes_away(folder: Path) -> dict[str, Any]:
    """Close the terminal of a run: SIGHUP, and every later write to it fails."""
    job, mark = "terminal", folder / "terminal.mark"
    pid, master = pty.fork()
    if pid == 0:
        code = 1
        try:
            whole_run(folder, job, Phases(mark, "training"))
            code = 0
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else 1
        finally:
            os._exit(code)
    _wait_for(mark, folder / "whole.txt")
    os.close(master)
    code = wait_all([pid], 60)[0]
    log = folder / "terminal.txt"
    again = wait_all([fork(lambda: whole_run(folder, job, Phases(None, "")), log)], 120)[0]
    apart = checkpoint_difference(folder / "whole" / LAST, folder / job / LAST)
    good = code == 128 + signal.SIGHUP and again == 0 and apart == 0
    return {"case": job, "good": good, "code": code, "again": again, "apart": apart}


def fig25(folder: Path, quick: bool) -> Figure:
    """Send every signal in every phase (quick: one signal a phase)."""
    from lavis.datasets.download_scripts.prepare_bricks import prepare_bricks

    log, draw = folder / "whole.txt", random.Random(25)
    wait_all([fork(lambda: whole_run(folder, "whole", Phases(None, "")), log)], 120)
    prepare_bricks(folder / "bricks", 64, limit=40, progress=False)
    cases = [
        (p, s) for n, p in enumerate(PHASES) for s in (SIGNALS[n % 3 :][:1] if quick else SIGNALS)
    ]
    results = [_signalled(folder, *case, draw.uniform(0, WAIT / 2)) for case in cases]
    results.append(_terminal_goes_away(folder))
    wrong = [result for result in results if not result["good"]]
    return Figure(
        not wrong, {"right": len(results) - len(wrong), "of": len(results), "wrong": wrong}
    )
