"""What a process sets up before it builds anything: memory, seeds, threads, logging."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import logging
import os
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lavis.common.dist_utils import from_main, get_rank, is_main_process
from lavis.common.files import make_folder
from lavis.common.utils import get_abs_path, now

# mallopt parameters of glibc (malloc.h).
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Let glibc keep the memory that tensors free, for the next step to use again.

    By default every large tensor is mapped and unmapped, and the kernel clears its pages each
    time: in a stage-1 step (batch 64, two cores) that is 700,000 page faults and a fifth of the
    time.

    Returns:
        Whether the allocator took the settings (Linux with glibc only).
    """
    if sys.platform != "linux":
        return False
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:
        return False
    kept = libc.mallopt(_M_MMAP_MAX, 0) and libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    return bool(kept)


def prepare_process(run_cfg: Any) -> None:
    """Keep freed memory, seed every library, size the thread pool, let only rank 0 log details.

    Args:
        run_cfg: `seed`; `num_threads` for CPU runs (null: torch's own choice, which
            `torch.distributed.run` sets to one thread per process).
    """
    keep_freed_memory()
    level = logging.INFO if is_main_process() else logging.WARNING
    logging.basicConfig(level=level, format="%(asctime)s [%(levelname)s] %(message)s", force=True)
    if run_cfg.get("num_threads"):
        torch.set_num_threads(int(run_cfg.num_threads))
    # Ranks differ, so that dropout and sampled negatives do; data randomness never uses these.
    seed = int(run_cfg.get("seed", 42)) + get_rank()
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def is_restarted() -> bool:
    """Return whether the launcher (torch.distributed.run, Slurm) started this run again."""
    counts = (os.environ.get(n, "0") for n in ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"))
    return any(count.isdigit() and int(count) > 0 for count in counts)


def resolve_job(run_cfg: Any, dry_run: bool = False) -> str:
    """Return the job's folder name, the same on every rank and in every restart of a run.

    run.job_id; else, when the launcher restarted the run, the folder that `latest` points to; else
    the time, with a number when another run started in the same second (its folder is created here,
    except for a dry run). A restarted run resumes from its own newest checkpoint.
    """
    restarted = is_restarted()
    if restarted and run_cfg.resume_ckpt_path is None:
        run_cfg.resume_ckpt_path = "auto"
    job_id = run_cfg.get("job_id")
    latest = os.path.join(get_abs_path(run_cfg.output_dir), "latest")
    if not job_id and restarted and os.path.islink(latest):
        job_id = os.path.basename(os.readlink(latest))
    return from_main(lambda: job_id or (now() if dry_run else _new_folder(run_cfg.output_dir)))


def _new_folder(output_dir: str) -> str:
    """Create a folder named by the time that no other run has; return its name."""
    started, base = now(), Path(get_abs_path(output_dir))
    for number in itertools.count(1):
        name = started if number == 1 else f"{started}-{number}"
        with contextlib.suppress(FileExistsError):
            return make_folder(base / name, new=True).name
    raise AssertionError("unreachable: the numbers do not end")
