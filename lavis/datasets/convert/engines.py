"""Convert pieces in processes of this machine; a process that dies costs one file at most.

An engine takes pieces and yields (piece, its bytes) in any order; ray_engine.py is another one.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

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
Engine = Callable[[Sequence[Piece]], Generator[Done, None, None]]


def in_this_process(pieces: Sequence[Piece]) -> Generator[Done, None, None]:
    """Convert one piece after the other; a file that kills the process kills this one."""
    for piece in pieces:
        yield piece, convert_piece(piece.jobs)


def in_processes(pieces: Sequence[Piece], workers: int) -> Generator[Done, None, None]:
    """Convert pieces side by side.

    When a process dies, its piece is converted again, each file alone in a process, and the file
    that kills its process is named in its record.

    Args:
        pieces: what to convert.
        workers: processes.
    """
    waiting = deque(pieces)
    with ExitStack() as started:
        idle = [started.enter_context(closing(_Worker())) for _ in pieces[:workers]]
        busy: dict[Connection, tuple[_Worker, Piece]] = {}
        while waiting or busy:
            while waiting and idle:
                worker, piece = idle.pop(), waiting.popleft()
                worker.start(convert_piece, piece.jobs)
                busy[worker.connection] = worker, piece
            for ready in wait(list(busy)):
                worker, piece = busy.pop(ready)  # type: ignore[call-overload]  # typed as object
                try:
                    content = worker.result()
                except _Died:
                    content = encode([_alone(job) for job in piece.jobs])
                    worker = started.enter_context(closing(_Worker()))
                idle.append(worker)
                yield piece, content


def _alone(job: Job) -> Converted:
    """Convert a file in a process of its own."""
    for _ in range(ATTEMPTS):
        with closing(_Worker()) as worker, suppress(_Died):
            worker.start(convert_file, job)
            return worker.result()
    source = os.path.relpath(job.path, job.root)
    return Converted(job.object_id, problem=DIED, facts={"source": source})


class _Died(Exception):
    """The process ended before it answered."""


class _Worker:
    """A process that runs one function at a time, with a pipe of its own.

    Python's pools share a queue among their processes: one that is killed while it holds the
    queue's lock keeps the others, and the exit of the program, waiting for ever.
    """

    def __init__(self) -> None:
        fork = multiprocessing.get_context("fork")  # importing again takes seconds a process
        self.connection, theirs = fork.Pipe()
        self._process = fork.Process(target=_serve, args=(theirs, os.getpid()))
        self._process.start()
        theirs.close()  # so that the pipe ends with the process

    def start(self, function: Callable[[Any], Any], argument: object) -> None:
        """Begin a call; of a process that died, `result` tells."""
        with suppress(OSError):
            self.connection.send((function, argument))

    def result(self) -> Any:
        """Wait for the value of the call; raise _Died where there is none."""
        try:
            return self.connection.recv()
        except (EOFError, OSError) as error:
            raise _Died from error

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        self._process.join()
        self.connection.close()


def _serve(connection: Connection, parent: int) -> None:
    """Answer calls until killed; leave signals to the parent, and end when it is gone."""
    ignore_stop_signals()
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()
    while True:
        function, argument = connection.recv()
        connection.send(function(argument))


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)
