"""Advisory lock on a file in the folder of the target: one process prepares, others wait."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lavis.common.folder_owner import this_process


@contextmanager
def folder_lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on `path`, which names its holder to those who wait.

    The system frees it when the process ends, however it ends.

    The lock file stays: deleting it would let a waiting and a new process hold two different files.
    """
    try:
        import fcntl
    except ImportError:  # not POSIX: the final rename is still atomic, work may be done twice
        yield
        return
    with open(path, "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.1)  # until the holder has written its name
            file.seek(0)
            holder = file.read() or "another process"
            logging.info("Waiting for %s, which prepares %s", holder, path.name)
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(str(this_process()))
        file.flush()
        yield
