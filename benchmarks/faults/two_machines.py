"""Figure 26: two launchers on two loopback addresses; one is killed with its ranks, or suspended.

A suspended machine (SIGSTOP to its launcher and ranks) is what its peer sees of a network
pause: connections stay, nothing comes.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.faults.compare import checkpoint_difference
from benchmarks.faults.processes import Figure, fork, free_port, run_ranks, wait_all
from benchmarks.faults.tiny_run import TinyTask, tiny_runner
from lavis.common.checkpoint_folder import LAST
from lavis.runners.loss_curve import read_rows
from lavis.runners.outputs import held_folder

RANKS = 2  # of each machine
STEPS = 12  # two epochs
ROOT = Path(__file__).resolve().parents[2]
# As launch/torchrun_multinode.sh sets it: with the shared store of torch 2.13, the first machine
# does not publish its address again, and a launcher that was started anew waits for it in vain.
ENVIRONMENT = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "GLOO_SOCKET_IFNAME": "lo"}


class SlowTask(TinyTask):
    """Takes its time, so that a fault meets it in training."""

    def train_step(self, model: Any, samples: Mapping[str, Any]) -> Any:
        """Return the losses after a while."""
        time.sleep(0.15)
        return super().train_step(model, samples)


def shared_run(folder: Path, job: str) -> None:
    """One rank of a run over both machines, which resumes after each restart."""
    options: dict[str, Any] = {"dropout": 0.5, "save_freq": 1, "resume_ckpt_path": "auto"}
    with held_folder(str(folder), job):
        tiny_runner(folder, job, task=SlowTask(), max_epoch=2, **options).train()


class Machines:
    """Two launchers that meet at one address of the first.

    Args:
        folder: run.output_dir.
        job: run.job_id.
    """

    def __init__(self, folder: Path, job: str) -> None:
        self.folder, self.job, self.port = folder, job, free_port()
        self.pids = [self.launch(number) for number in (0, 1)]

    def launch(self, number: int) -> int:
        """Start the launcher of a machine; return its pid."""
        command = [
            *(sys.executable, "-m", "torch.distributed.run", "--nnodes=2"),
            *(f"--nproc_per_node={RANKS}", "--rdzv-backend=c10d", f"--rdzv-id={self.job}"),
            *(f"--rdzv-endpoint=127.0.0.1:{self.port}", f"--local-addr=127.0.0.{number + 1}"),
            # Both addresses are this machine's, so the host of the store must be said.
            f"--rdzv-conf=is_host={int(number == 0)},keep_alive_interval=1",
            *("--max-restarts=3", "--monitor-interval=0.1"),
            *("-m", "benchmarks.faults.launched", "shared_run"),
            json.dumps([str(self.folder), self.job]),
        ]

        def launcher_main() -> None:
            os.chdir(ROOT)
            os.execve(command[0], command, os.environ | ENVIRONMENT)

        return fork(launcher_main, self.folder / f"{self.job}-machine{number}.txt")

    def signal(self, number: int, signum: int) -> None:
        """Send a signal to the launcher of a machine and to all of its ranks."""
        for pid in family(self.pids[number]):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signum)

    def restart(self, number: int) -> None:
        """Kill a machine and start it again."""
        self.kill(number)
        self.pids[number] = self.launch(number)

    def kill(self, number: int) -> None:
        """Kill a launcher with its ranks."""
        self.signal(number, signal.SIGKILL)
        os.waitpid(self.pids[number], 0)

    def wait_for_step(self, step: int, seconds: float = 120) -> None:
        """Return when the log has the step."""
        log, end = self.folder / self.job / "log.jsonl", time.monotonic() + seconds
        while not any(r.get("step", 0) >= step for r in (read_rows(log) if log.is_file() else [])):
            if time.monotonic() > end:
                raise TimeoutError(f"step {step} of {self.job}")
            time.sleep(0.05)

    def end(self, seconds: float = 240) -> list[int]:
        """Wait for both launchers; return their exit codes."""
        codes = wait_all(self.pids, seconds)
        return codes


def family(pid: int) -> list[int]:
    """Return a process and all that descend from it, parents first."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_bytes().rpartition(b")")[2].split()
            parents.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found = [pid]
    for parent in found:
        found += parents.get(parent, [])
    return found


def _one_dies(machines: Machines) -> None:
    """Kill the second machine and start it again."""
    machines.wait_for_step(3)
    machines.restart(1)


def _stands_still(machines: Machines, seconds: float = 30) -> None:
    """Stop the second machine for a while."""
    machines.wait_for_step(3)
    machines.signal(1, signal.SIGSTOP)
    time.sleep(seconds)
    machines.signal(1, signal.SIGCONT)


def _the_host_dies(machines: Machines) -> None:
    """Kill the machine of the store; the other one exits, and both are started again."""
    machines.wait_for_step(3)
    machines.kill(0)
    codes = wait_all(machines.pids[1:], 120)
    assert codes[0] not in (0, -9), "the second machine goes on alone, or for ever"
    machines.pids = [machines.launch(number) for number in (0, 1)]


def _both_die(machines: Machines) -> None:
    """Kill both machines and start them again."""
    machines.wait_for_step(5)
    machines.kill(0)
    machines.kill(1)
    machines.pids = [machines.launch(number) for number in (0, 1)]


FAULTS: tuple[Callable[[Machines], None], ...] = (
    *(_one_dies, _stands_still, _the_host_dies, _both_die),
)


def _case(folder: Path, fault: Callable[[Machines], None]) -> dict[str, Any]:
    """Run with a fault; return how it ended, and how far from the undisturbed run."""
    job, started = fault.__name__.strip("_"), time.monotonic()
    machines = Machines(folder, job)
    try:
        fault(machines)
        codes = machines.end()
    finally:
        for number in (0, 1):
            machines.signal(number, signal.SIGKILL)
    apart = checkpoint_difference(folder / "whole" / LAST, folder / job / LAST)
    rows = read_rows(folder / job / "log.jsonl")
    steps = [row["step"] for row in rows if row["kind"] == "train"]
    return {
        "exit_codes": codes,
        "max_difference": apart,
        "steps_done_again": len(steps) - len(set(steps)),
        "seconds": round(time.monotonic() - started, 1),
        "good": codes == [0, 0] and apart == 0 and set(steps) == set(range(1, STEPS + 1)),
    }


def fig26(folder: Path, quick: bool) -> Figure:
    """Four faults (quick: one machine dies) against four ranks of one machine without any."""
    log = folder / "log.txt"
    codes = run_ranks(2 * RANKS, lambda: _seeded(folder), log)
    faults = FAULTS[:1] if quick else FAULTS
    results = {fault.__name__.strip("_"): _case(folder, fault) for fault in faults}
    good = all(result["good"] for result in results.values())
    return Figure(good and codes == [0] * 2 * RANKS, results)


def _seeded(folder: Path) -> None:
    """One rank of the undisturbed run, seeded as `launched.py` does."""
    from lavis.common import rng_state
    from lavis.common.dist_utils import get_rank

    rng_state.reseed(42, 0, get_rank())
    shared_run(folder, "whole")
