"""How OpenMP's threads wait, and how many there are: set before torch is imported.

torch's threads spin at the end of every parallel region. Beside other work, one of them loses its
core and the others spin while they wait: on two cores shared with two busy processes a training
step takes several times as long (benchmarks/busy_machine.py). libgomp reads the environment when
torch loads it, so `lavis/__init__.py` calls `prepare_threads` before anything else.

This module imports neither torch nor the rest of the package.
"""

from __future__ import annotations

import logging
import math
import os
import sys
from collections.abc import Iterator, MutableMapping
from pathlib import Path

# Any of these is the user's own choice of how threads wait (libgomp, the standard, Intel's).
WAIT_SETTINGS = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME")
SPIN_COUNT = "1000"  # some microseconds; measured by benchmarks/busy_machine.py
# OpenBLAS reads OMP_NUM_THREADS as well; numba counts cores itself.
THREAD_SETTINGS = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")


def prepare_threads(environ: MutableMapping[str, str] = os.environ) -> None:
    """Let waiting threads spin shortly, then sleep, and start no more than a container's quota.

    Variables that are set already are the user's and stay. Child processes (data workers, ranks)
    inherit the others. Where torch is loaded already, one warning states that this process keeps
    its own setting.
    """
    unset = not any(name in environ for name in WAIT_SETTINGS)
    if unset:
        environ["GOMP_SPINCOUNT"] = SPIN_COUNT
    threads = available_cpus()
    if threads < affinity_cpus():  # OpenMP and numba follow the affinity themselves
        for name in THREAD_SETTINGS:
            environ.setdefault(name, str(threads))
    if unset and threads > 1 and "torch" in sys.modules:
        logging.getLogger(__name__).warning(
            "torch was imported before lavis: its threads spin while they wait, which is slow "
            "beside other work. Import lavis first, or set GOMP_SPINCOUNT=%s.",
            SPIN_COUNT,
        )


def available_cpus(
    cgroups: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")
) -> int:
    """Return how many cores this process may keep busy: affinity and container quota, at least 1.

    Args:
        cgroups: where control groups are mounted (version 1 or 2).
        membership: the file that names the groups of this process.
    """
    quota = min(_quotas(cgroups, membership), default=math.inf)
    return max(1, math.ceil(min(quota, affinity_cpus())))


def affinity_cpus() -> int:
    """Return how many cores this process may run on (taskset, cpuset)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas(cgroups: Path, membership: Path) -> Iterator[float]:
    """Yield the quotas, in cores, of the groups of this process and of the groups above them."""
    for line in _read(membership).splitlines() or ["0::/"]:
        _, controllers, group = [*line.split(":", 2), "", ""][:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = cgroups / controllers if controllers else cgroups
        folder = base / group.lstrip("/")
        # In a container the name is often that of the host, whose folders are not mounted.
        for place in (folder, *folder.parents):
            if place.is_relative_to(base):
                yield from _quota(place)


def _quota(folder: Path) -> Iterator[float]:
    """Yield the quota of one group, where it has one."""
    version_2 = _read(folder / "cpu.max").split()
    version_1 = [_read(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
    for quota, period in (pair for pair in (version_2, version_1) if len(pair) == 2):
        if quota.isdigit() and period.isdigit() and int(period):
            yield int(quota) / int(period)


def _read(path: Path) -> str:
    """Return the text of a file, empty where there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
