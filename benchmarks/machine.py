"""The machine, date and commit of a benchmark result."""

from __future__ import annotations

import datetime
import os
import platform
from pathlib import Path
from typing import Any

import torch

from lavis.evaluation.provenance import git_commit


def result_header(name: str) -> dict[str, Any]:
    """Name, date and commit of a result."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return {"name": name, "date": today, "commit": git_commit(Path(__file__).parents[1])}


def describe_machine() -> dict[str, Any]:
    """Processor, cores, threads, memory, GPU; `shared`: other work ran at the same time."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    model = next((line.split(":")[1].strip() for line in lines if "model name" in line), "")
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cores = os.cpu_count() or 1
    return {
        "cpu": model or platform.processor(),
        "cores": cores,
        "threads": torch.get_num_threads(),
        "ram": f"{pages / 2**30:.0f} GiB",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "load_at_the_end": [round(value, 2) for value in os.getloadavg()],
        "shared": "other jobs ran on these cores; both sides were interleaved, so read the ratios",
    }
