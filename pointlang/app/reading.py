"""Read an uploaded file in a process of its own: it can be ended when it takes too long."""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

from lavis.common.errors import DataError
from pointlang.objects import NUM_POINTS, Object, read_object

# Forked from a process that has imported the readers and no model: a fork of the server itself
# would inherit the threads' locks of torch.
_PROCESSES = multiprocessing.get_context("forkserver")
FIX = "open it in a viewer and export it again as .glb or .ply with fewer points or faces"


def prepare() -> None:
    """Start the process that later ones are forked from; it imports the readers meanwhile."""
    _PROCESSES.set_forkserver_preload(["pointlang.objects"])
    multiprocessing.forkserver.ensure_running()


def read_upload(
    path: str | Path, up: str = "auto", num_points: int = NUM_POINTS, seconds: float = 60.0
) -> Object:
    """Read one mesh or cloud; its name, also in messages, is that of the file without folders.

    Args:
        path: of the file.
        up: see `read_object`.
        num_points: see `read_object`.
        seconds: the most that reading may take.

    Raises:
        DataError: see `read_object`; or the time is over, or the process died.
    """
    name = Path(path).name
    ours, theirs = _PROCESSES.Pipe(duplex=False)
    given = (theirs, str(path), up, num_points)
    process = _PROCESSES.Process(target=_read, args=given, daemon=True)
    process.start()
    theirs.close()  # so that the pipe ends with the process
    try:
        ours.recv()  # it has started: the first one waits for the imports
        found = ours.recv() if ours.poll(seconds) else f"more than {seconds:g} s"
    except (EOFError, OSError):
        found = "the reading process ended: out of memory, or a file that breaks the reader"
    finally:
        process.kill()
        process.join()
        ours.close()
    if isinstance(found, DataError):
        raise DataError(str(found).replace(str(path), name)) from found
    if isinstance(found, str):
        what = "The file cannot be read within the limits of the demo."
        raise DataError(what, where=name, got=found, fix=FIX)
    return found


def _read(answer: Connection, path: str, up: str, num_points: int) -> None:
    answer.send(None)
    try:
        found = read_object(path, up, num_points)
    except DataError as error:
        answer.send(error)
    else:
        answer.send(replace(found, name=Path(path).name))
