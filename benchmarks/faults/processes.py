"""Ranks as forked processes: torch is imported once, by the parent, which never computes.

`run_ranks` is for cases whose faults the ranks cause themselves; `run_under_launcher` starts the
real `torch.distributed.run`, which restarts and signals them.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Figure:
    """What was measured for one figure of the table.

    Attributes:
        passed: the expected value was reached.
        measured: the numbers, ready for JSON.
    """

    passed: bool
    measured: dict[str, Any] = field(default_factory=dict)


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def fork(function: Callable[[], Any], log: Path | None = None) -> int:
    """Run `function` in a forked process that exits with 0, or its SystemExit code, or 1."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        if log is not None:
            handle = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
            os.dup2(handle, 1)
            os.dup2(handle, 2)
        function()
        code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait_all(pids: Sequence[int], seconds: float) -> list[int]:
    """Return exit codes (minus the signal for killed ones); after `seconds` kill the rest: -9."""
    end, codes = time.monotonic() + seconds, dict.fromkeys(pids)
    while any(code is None for code in codes.values()):
        for pid in [pid for pid, code in codes.items() if code is None]:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                codes[pid] = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > end:
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)
    return [code if code is not None else 1 for code in codes.values()]


def start_ranks(world_size: int, function: Callable[[], Any], log: Path) -> list[int]:
    """Fork the ranks of a process group; `function` runs inside it."""
    port = free_port()

    def rank_main(rank: int) -> None:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world_size)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        in_group(function)

    return [fork(lambda rank=rank: rank_main(rank), log) for rank in range(world_size)]


def in_group(function: Callable[[], Any]) -> None:
    """Join the group that the environment describes, run `function`, leave as train.py does."""
    import torch
    from omegaconf import OmegaConf

    from lavis.common.dist_utils import init_distributed_mode, leave
    from lavis.common.errors import PointLanguageError, Preempted

    torch.set_num_threads(1)
    init_distributed_mode(OmegaConf.create({"device": "cpu"}))
    try:
        function()
    except Preempted as stopped:
        leave(stopped.exit_code, in_order=stopped.agreed)
        sys.exit(stopped.exit_code)
    except PointLanguageError:
        traceback.print_exc()
        leave(2)
    leave()


def run_ranks(
    world_size: int, function: Callable[[], Any], log: Path, seconds: float = 300
) -> list[int]:
    """Run `function` on every rank; return the exit codes."""
    return wait_all(start_ranks(world_size, function, log), seconds)


def run_under_launcher(
    world_size: int, call: str, arguments: Sequence[Any], log: Path, max_restarts: int = 0
) -> int:
    """Start `torch.distributed.run` with a call of `launched.py`; return the launcher's pid.

    Args:
        world_size: ranks.
        call: name of the call.
        arguments: ready for JSON.
        log: where launcher and ranks write.
        max_restarts: how often the launcher starts all ranks again.
    """
    root = Path(__file__).resolve().parents[2]
    command = [
        *(sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={world_size}"),
        *("--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{free_port()}"),
        *(f"--max-restarts={max_restarts}", "--monitor-interval=0.05"),
        *("-m", "benchmarks.faults.launched", call, json.dumps(list(arguments))),
    ]

    def launcher_main() -> None:
        # Forking ranks from a launcher with threads can leave a lock in them never released.
        os.chdir(root)
        os.execv(command[0], command)

    return fork(launcher_main, log)


def write_json(path: Path, content: Any) -> None:
    """Write one JSON file (how a rank reports)."""
    path.write_text(json.dumps(content), encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read one JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))
