"""Name the ranks that did not reach a collective, where torch reports a bare time-out.

Every rank counts its collectives in the store of the process group. A rank whose collective fails
reads the counts of the others: ranks with a smaller count have not reached it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import timedelta

from torch.distributed import Store

from lavis.common.errors import ProcessGroupError


class Arrivals:
    """Counts of collectives in a store.

    Args:
        store: of the process group; None counts nothing, and errors name no ranks.
        rank, world_size: of this process.
        timeout: of the process group, for the message.
    """

    def __init__(
        self, store: Store | None, rank: int, world_size: int, timeout: timedelta | None = None
    ) -> None:
        self.store, self.rank, self.world_size = store, rank, world_size
        self.timeout = timeout
        self.count = 0

    @contextlib.contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Run a collective.

        Args:
            what: the collective, for the message.

        Raises:
            ProcessGroupError: another rank did not arrive in time, or its connection is lost.
        """
        self.count += 1
        try:
            if self.store is not None:
                self.store.set(f"arrived/{self.rank}", str(self.count))
            yield
        except RuntimeError as error:  # all that torch.distributed raises
            raise self.error(what, error) from error

    def error(self, what: str, error: Exception) -> ProcessGroupError:
        """Return an error with the failed collective and the ranks that did not reach it."""
        absent = self.absent()
        ranks = f"ranks {absent}" if absent else "another rank"
        limit = "" if self.timeout is None else f" within {self.timeout}"
        return ProcessGroupError(
            f"{ranks} did not come to {what}",
            where=f"rank {self.rank} of {self.world_size}, collective {self.count}",
            got=str(error).strip().splitlines()[0] if str(error).strip() else repr(error),
            expected=f"all {self.world_size} ranks{limit}",
            fix="look at the output of those ranks: they ended, hang, or do something else",
        )

    def absent(self) -> list[int]:
        """Return the ranks that have reached fewer collectives than this one, where known."""
        if self.store is None:
            return []
        others = [rank for rank in range(self.world_size) if rank != self.rank]
        try:
            return [rank for rank in others if self._count_of(self.store, rank) < self.count]
        except RuntimeError:  # the store's host is gone, too
            return []

    @staticmethod
    def _count_of(store: Store, rank: int) -> int:
        key = f"arrived/{rank}"
        return int(store.get(key)) if store.check([key]) else 0
