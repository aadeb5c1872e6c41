"""Convert pieces on the machines of a Ray cluster (`--ray ADDRESS`; requirements-ray.txt).

    ray start --head                            # on one machine; prints the address
    ray start --address=10.0.0.1:6379           # on the others
    python -m lavis.datasets.convert my_meshes/ --out data/mine --ray 10.0.0.1:6379

`auto` is the cluster of this machine, `local` starts one for this command. Every machine reads the
user's files and this repository at the same paths (a shared file system), and runs one task per
core. Tasks have no side effect: what a dead process or machine was at is converted again elsewhere.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from lavis.common.errors import ConfigError, DependencyError
from lavis.datasets.convert.engines import ATTEMPTS, DIED, Done, Piece
from lavis.datasets.convert.tasks import Converted, Job, convert_file, convert_piece, encode

INSTALL = "pip install -r requirements-ray.txt"
CONNECT_SECONDS = 10.0
PER_CORE = 2  # pieces handed out per core: none waits for this process, and memory stays bounded


def run(pieces: Sequence[Piece], address: str) -> Generator[Done, None, None]:
    """Convert pieces on a cluster, in any order.

    Args:
        pieces: what to convert.
        address: `host:port` of the cluster's head, `auto` or `local`.

    Raises:
        DependencyError: Ray is not installed.
        ConfigError: no cluster at the address.
    """
    ray = imported()
    with connected(ray, address) as cores:
        convert = ray.remote(max_retries=ATTEMPTS - 1, num_cpus=1)(convert_piece)
        waiting, running = deque(pieces), dict[Any, Piece]()
        while waiting or running:
            while waiting and len(running) < PER_CORE * cores:
                piece = waiting.popleft()
                running[convert.remote(piece.jobs)] = piece
            (task,), _ = ray.wait(list(running), num_returns=1)
            piece = running.pop(task)
            try:
                yield piece, ray.get(task)
            except deaths(ray):
                yield piece, encode(_each_alone(ray, piece.jobs))


def _each_alone(ray: Any, jobs: Sequence[Job]) -> list[Converted]:
    """Convert files in tasks of their own; one that kills its process is named in its record."""
    convert = ray.remote(max_retries=ATTEMPTS - 1, num_cpus=1)(convert_file)
    tasks = [convert.remote(job) for job in jobs]
    results = []
    for job, task in zip(jobs, tasks, strict=True):
        try:
            results.append(ray.get(task))
        except deaths(ray):
            source = os.path.relpath(job.path, job.root)
            results.append(Converted(job.object_id, problem=DIED, facts={"source": source}))
    return results


def deaths(ray: Any) -> tuple[type[Exception], ...]:
    """Return what a task raises whose process or machine died more often than it is tried."""
    kinds = ray.exceptions
    return kinds.WorkerCrashedError, kinds.NodeDiedError, kinds.OutOfMemoryError


def imported() -> Any:
    """Return Ray."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    os.environ.setdefault("RAY_TQDM_PATCH_PRINT", "0")  # else it replaces Python's print
    try:
        import ray
    except ImportError as error:
        raise DependencyError("Ray is not installed.", where="--ray", fix=INSTALL) from error
    return ray


@contextmanager
def connected(ray: Any, address: str) -> Iterator[int]:
    """Join the cluster, leave it afterwards; gives its number of cores.

    A process that has joined one before stays in it, whatever the address.

    Raises:
        ConfigError: no cluster at the address.
    """
    joined_before = ray.is_initialized()
    try:
        if not joined_before:
            _reach(address)
            _init(ray, address)
    except (OSError, ValueError, RuntimeError) as error:
        what, fix = "No Ray cluster answers.", "`ray start --head` prints the address of a cluster"
        got = f"{address}: {str(error).splitlines()[0]}"
        raise ConfigError(what, where="--ray", got=got, fix=fix) from error
    try:
        yield max(1, int(ray.cluster_resources().get("CPU", 1)))
    finally:
        if not joined_before:
            ray.shutdown()


def _reach(address: str) -> None:
    """Connect to `host:port` once: Ray itself tries for minutes.

    Raises:
        OSError: no process listens there.
    """
    host, colon, port = address.rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()


def _init(ray: Any, address: str) -> None:
    """Join a cluster; stop signals stay with this command, which Ray would take over."""
    in_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    ray.init(address, log_to_driver=False, logging_level=logging.WARNING)
    if in_main:
        signal.signal(signal.SIGTERM, handler)
