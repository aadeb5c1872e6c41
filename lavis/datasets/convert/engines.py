"""Convert pieces in processes of this machine; a process that dies costs one file at most.

An engine takes pieces and yields (piece, its bytes) in any order; ray_engine.py is another one.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass

from lavis.common.preemption import ignore_stop_signals
from lavis.datasets.convert.tasks import Converted, Job, convert_file, convert_piece, encode

ATTEMPTS = 2  # of a file alone in its process: one may die of what others do
DIED = "the process that converted it died (out of memory, or a fault in a library)"


@dataclass(frozen=True)
class Piece:
    """Jobs that are converted and kept together.

    Attributes:
        name: a hash of the jobs and of the state of their files.
        jobs: in the order of object ids.
    """

    name: str
    jobs: tuple[Job, ...]


Done = tuple[Piece, bytes]
Engine = Callable[[Sequence[Piece]], Iterator[Done]]


def in_this_process(pieces: Sequence[Piece]) -> Iterator[Done]:
    """Convert one piece after the other; a file that kills the process kills this one."""
    for piece in pieces:
        yield piece, convert_piece(piece.jobs)


def in_processes(pieces: Sequence[Piece], workers: int) -> Iterator[Done]:
    """Convert pieces side by side.

    When a process dies, every piece that was at work is converted again, each file alone in a
    process, and the file that kills its process is named in its record.

    Args:
        pieces: what to convert.
        workers: processes.
    """
    waiting = deque(pieces)
    while waiting:
        suspects: list[Piece] = []
        with _pool(min(workers, len(waiting))) as pool:
            yield from _until_one_dies(pool, waiting, workers, suspects)
        for piece in suspects:
            yield piece, encode([_alone(job) for job in piece.jobs])


def _until_one_dies(
    pool: ProcessPoolExecutor, waiting: deque[Piece], workers: int, suspects: list[Piece]
) -> Iterator[Done]:
    """Take pieces from `waiting` until none is left, or until a process dies.

    Args:
        suspects: gets the pieces that were at work then.
    """
    running: dict[Future[bytes], Piece] = {}
    while (waiting or running) and not suspects:
        while waiting and len(running) <= workers:  # one more than processes: none is idle
            piece = waiting.popleft()
            try:
                running[pool.submit(convert_piece, piece.jobs)] = piece
            except BrokenProcessPool:
                suspects.append(piece)
                break
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            piece = running.pop(future)
            try:
                content = future.result()
            except BrokenProcessPool:
                suspects.append(piece)
            else:
                yield piece, content
    suspects += running.values()


def _alone(job: Job) -> Converted:
    """Convert a file in a process of its own."""
    for _ in range(ATTEMPTS):
        with _pool(1) as pool:
            try:
                return pool.submit(convert_file, job).result()
            except BrokenProcessPool:
                continue
    source = os.path.relpath(job.path, job.root)
    return Converted(job.object_id, problem=DIED, facts={"source": source})


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Start processes and end them, whatever they are doing, when the block is left."""
    others = set(multiprocessing.active_children())
    # Fork: importing torch again takes seconds a process.
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("fork"), _start_worker, (os.getpid(),)
    )
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - others:
            process.kill()
            process.join()


def _start_worker(parent: int) -> None:
    """Leave signals to the parent, and end when it is gone."""
    ignore_stop_signals()
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)
