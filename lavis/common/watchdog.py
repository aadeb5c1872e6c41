"""Detect a rank without progress, report the rank and its position, and end the process.

A collective waits for the slowest rank, so one stuck rank blocks all of them. Every rank writes its
step and phase to a small file of the job's folder. A rank that waits too long reads these files,
names the rank that is behind, prints the stacks of its own threads, and exits with
`EXIT_CODE`, upon which `torch.distributed.run --max-restarts` starts all ranks again.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import logging
import os
import sys
import threading
import time
from pathlib import Path

EXIT_CODE = 75  # EX_TEMPFAIL: worth another attempt


class Watchdog:
    """Watches the steps of one rank while used as a context manager.

    Args:
        folder: shared by the ranks; one file `rank<r>.json` each.
        rank, world_size: this process and how many there are.
        timeout: seconds without progress; 0 turns the watchdog off.
    """

    def __init__(self, folder: Path, rank: int, world_size: int, timeout: float) -> None:
        self.folder, self.rank, self.world_size = folder, rank, world_size
        self.timeout = timeout
        self._interval = max(0.05, min(10.0, timeout / 8))
        self._note = (0, "start", time.monotonic())
        self._paused = False
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Watchdog:
        if self.timeout > 0:
            with contextlib.suppress(OSError):  # the phase is lost, see `_write`
                self.folder.mkdir(parents=True, exist_ok=True)
            self._thread = threading.Thread(target=self._watch, daemon=True, name="watchdog")
            self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._end.set()
        if self._thread is not None:
            self._thread.join()
            with contextlib.suppress(OSError):
                self._path(self.rank).unlink(missing_ok=True)

    def beat(self, step: int, phase: str, watched: bool = True) -> None:
        """Note progress: costs a tuple, the thread writes it.

        Args:
            step: optimiser steps done.
            phase: what this rank does now ("data", "step", "evaluate", ...).
            watched: whether it may take longer than the timeout.
        """
        self._note, self._paused = (step, phase, time.monotonic()), not watched

    def _path(self, rank: int) -> Path:
        return self.folder / f"rank{rank}.json"

    def _watch(self) -> None:
        while not self._end.wait(self._interval):
            step, phase, since = self._note
            waited = time.monotonic() - since
            self._write(step, phase, waited)
            if not self._paused and waited > self.timeout:
                message = self.report(step, phase, waited)
                logging.error("%s", message)
                print(message, file=sys.stderr, flush=True)
                faulthandler.dump_traceback(all_threads=True)
                os._exit(EXIT_CODE)

    def _write(self, step: int, phase: str, waited: float) -> None:
        """Write this rank's note; a disk that fails costs the note, not the run."""
        note = {"step": step, "phase": phase, "waited": round(waited, 1), "pid": os.getpid()}
        partial = self.folder / f".rank{self.rank}.partial"
        try:
            partial.write_text(json.dumps(note), encoding="utf-8")
            os.replace(partial, self._path(self.rank))
        except OSError as error:
            logging.debug("watchdog note not written: %s", error)

    def report(self, step: int, phase: str, waited: float) -> str:
        """Return what every rank last noted, the one that is behind first."""
        notes = []
        for rank in range(self.world_size):
            try:
                notes.append({"rank": rank} | json.loads(self._path(rank).read_text("utf-8")))
            except (OSError, ValueError):
                notes.append({"rank": rank, "step": -1, "phase": "no note: it is gone"})
        # Among equals, one that is not inside a step is what the others wait for inside it.
        notes.sort(key=lambda n: (n["step"], n["phase"] == "step", -n.get("waited", 0.0)))
        lines = [
            f"  rank {n['rank']}: step {n['step']}, {n['phase']}, for {n.get('waited', 0.0):.0f} s"
            for n in notes
        ]
        head = f"rank {self.rank} made no progress for {waited:.0f} s (step {step}, {phase})"
        return "\n".join([f"{head}; the first of these holds the others up:", *lines])
