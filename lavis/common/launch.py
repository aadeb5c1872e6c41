"""What a process sets up before it builds anything: memory, seeds, threads, logging."""

from __future__ import annotations

import ctypes
import logging
import random
import sys
from typing import Any

import numpy as np
import torch

from lavis.common.dist_utils import get_rank, is_main_process

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
