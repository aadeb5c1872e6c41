"""Stop at the signals of a scheduler, a user or a lost terminal: SIGTERM, SIGINT, SIGHUP.

In training the handler only stores the signal, because it may interrupt anything. After the current
step the ranks exchange their signals, save together and exit with 128 + signal. In an evaluation,
before which everything was saved, the handler raises at once: ranks do not evaluate in step. While
data and models are prepared, `leave_at_signals` ends the process with one line.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

from lavis.common.errors import Preempted

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)
)


def handle(action: Any) -> dict[int, Any]:
    """Set the handler of every stop signal; return the previous ones.

    SIGHUP stays ignored where `nohup` asked for it. Only the main thread may set handlers: a run
    inside another thread goes without.
    """
    if threading.current_thread() is not threading.main_thread():
        return {}
    ignored = [n for n in SIGNALS if n not in (signal.SIGTERM, signal.SIGINT)]
    ignored = [n for n in ignored if signal.getsignal(n) == signal.SIG_IGN]
    return {n: signal.signal(n, action) for n in SIGNALS if n not in ignored}


def restore(previous: dict[int, Any]) -> None:
    """Set the handlers that `handle` returned."""
    for number, handler in previous.items():
        signal.signal(number, handler)


@contextlib.contextmanager
def leave_at_signals(what: str) -> Iterator[None]:
    """Leave with one line and 128 + signal at a stop signal, after the `finally` blocks.

    `StopRequest` replaces the handler inside. A forked worker exits silently.

    Args:
        what: follows the signal in the line, e.g. "while preparing; the next launch continues".
    """
    owner = os.getpid()

    def leave(signum: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:
            os._exit(128 + signum)
        restore(dict.fromkeys(previous, signal.SIG_IGN))  # while cleaning up
        with contextlib.suppress(OSError, ValueError):  # the terminal may be gone
            print(f"stopped by signal {signum} {what}", file=sys.stderr, flush=True)
        raise SystemExit(128 + signum)

    previous = handle(leave)
    try:
        yield
    finally:
        restore(previous)


class StopRequest:
    """Stores a stop signal while used as a context manager.

    Attributes:
        signum: the first signal that came, 0 for none.
    """

    def __init__(self) -> None:
        self.signum = 0
        self._raise_at_once = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        self._previous = handle(self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        restore(self._previous)
        self._previous = {}

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if self.signum and signum == signal.SIGINT:
            raise KeyboardInterrupt  # the second Ctrl-C: do not wait for the step to end
        if not self.signum:
            logging.warning("signal %d: saving after this step, then leaving", signum)
        self.signum = self.signum or signum
        if self._raise_at_once:
            raise Preempted(self.signum, agreed=False)

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Raise Preempted at the signal rather than wait; everything is saved already."""
        if self.signum:
            raise Preempted(self.signum, agreed=False)
        self._raise_at_once = True
        try:
            yield
        finally:
            self._raise_at_once = False


def ignore_stop_signals(worker_id: int = 0) -> None:
    """Keep a loader's worker alive at a signal to its process group (Slurm, Ctrl-C).

    The parent ends its workers itself after it has saved.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
