"""One process prepares, the others wait: an advisory lock on a file beside the target."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def folder_lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on `path`; the system frees it when the process ends, however it ends.

    The lock file stays: deleting it would let a waiting and a new process hold two different files.
    """
    try:
        import fcntl
    except ImportError:  # not POSIX: the final rename is still atomic, work may be done twice
        yield
        return
    with open(path, "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logging.info("Waiting for another process that prepares %s", path.name)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
