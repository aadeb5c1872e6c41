"""What a process sets up before it builds anything: seeds, threads, logging."""

from __future__ import annotations

import logging
import random
from typing import Any

import numpy as np
import torch
from lavis.common.dist_utils import get_rank, is_main_process


def prepare_process(run_cfg: Any) -> None:
    """Seed every library, size the thread pool, and let only rank 0 log below warnings.

    Args:
        run_cfg: `seed`; `num_threads` for CPU runs (null: torch's own choice, which
            `torch.distributed.run` sets to one thread per process).
    """
    level = logging.INFO if is_main_process() else logging.WARNING
    logging.basicConfig(level=level, format="%(asctime)s [%(levelname)s] %(message)s", force=True)
    if run_cfg.get("num_threads"):
        torch.set_num_threads(int(run_cfg.num_threads))
    # Ranks differ, so that dropout and sampled negatives do; data randomness never uses these.
    seed = int(run_cfg.get("seed", 42)) + get_rank()
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
