"""Stop when a scheduler or a user asks: SIGTERM and SIGINT are noted, the loop acts on them.

A signal handler may interrupt anything, so in training it only takes a note; ranks compare notes
at the next step edge, save together and leave with 128 + signal. During an evaluation, which ranks
do at their own pace and before which everything was saved, the handler raises at once.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

from lavis.common.errors import Preempted

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Notes SIGTERM and SIGINT while used as a context manager.

    Attributes:
        signum: the first signal that came, 0 for none.
    """

    def __init__(self) -> None:
        self.signum = 0
        self._raise_at_once = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        # Only the main thread may set handlers; a run inside another thread goes without.
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if self.signum and signum == signal.SIGINT:
            raise KeyboardInterrupt  # asked twice: do not wait for the step edge
        if not self.signum:
            logging.warning("signal %d: saving at the next step edge, then leaving", signum)
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
    """Make a loader's worker outlive a signal to its whole process group (Slurm, Ctrl-C).

    The parent ends its workers itself after it has saved.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
