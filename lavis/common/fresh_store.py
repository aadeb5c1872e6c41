"""A part of the launcher's key-value store that no earlier attempt has written to.

`torch.distributed.run` keeps one store over the restarts of a job (torch 2.13), and process groups
leave the addresses of their ranks in it. After a restart, a rank can read the address of a dead
peer, and the new group fails ("connection refused") or waits for ever. The number of restarts does
not identify an attempt: launchers of several machines count separately. Therefore the ranks of an
attempt first find each other by random names.
"""

from __future__ import annotations

import time
import uuid
from datetime import timedelta

from torch.distributed import DistError, PrefixStore, Store

from lavis.common.errors import ProcessGroupError

_PAUSE = 0.02  # seconds between two polls


def fresh_store(store: Store, rank: int, world_size: int, timeout: timedelta) -> Store:
    """Agree with the other ranks of this attempt on a prefix, and return the store below it.

    Every other rank writes a random name. Rank 0 answers each name with the name of the attempt,
    until all ranks have confirmed it. Names of dead ranks are answered and never confirmed.

    Args:
        store: may hold keys of earlier attempts.
        rank, world_size: of this process.
        timeout: until all ranks must be there.

    Raises:
        ProcessGroupError: rank 0 (on rank 0: another rank) did not arrive in time.
    """
    own = uuid.uuid4().hex
    if rank:
        store.set(f"attempt/name/{rank}", own)
        attempt = _answer_to(own, store, rank, timeout)
        store.add(f"attempt/confirmed/{attempt}", 1)
    else:
        attempt = own
        _answer(store, attempt, world_size, time.monotonic() + timeout.total_seconds())
    return PrefixStore(f"attempt/{attempt}", store)


def _answer_to(own: str, store: Store, rank: int, timeout: timedelta) -> str:
    """Wait for rank 0's answer to this rank's name."""
    key = f"attempt/answer/{own}"
    try:
        store.wait([key], timeout)
    except DistError as error:
        raise ProcessGroupError(
            "rank 0 did not answer",
            where=f"rank {rank}",
            got=str(error).strip().splitlines()[0],
            expected=f"an answer within {timeout}",
            fix="look at the output of rank 0, and at --nproc_per_node",
        ) from error
    return store.get(key).decode()


def _answer(store: Store, attempt: str, world_size: int, end: float) -> None:
    """Answer names until every rank but this one has confirmed."""
    answered: dict[int, bytes] = {}
    while (confirmed := store.add(f"attempt/confirmed/{attempt}", 0)) < world_size - 1:
        for rank in range(1, world_size):
            key = f"attempt/name/{rank}"
            if not store.check([key]):
                continue
            name = store.get(key)
            if answered.get(rank) != name:
                store.set(f"attempt/answer/{name.decode()}", attempt)
                answered[rank] = name
        if time.monotonic() > end:
            raise ProcessGroupError(
                "not all ranks joined the run",
                where="torch.distributed.run",
                got=f"{confirmed + 1} of {world_size} ranks; no name from "
                f"{[rank for rank in range(1, world_size) if rank not in answered]}",
                fix="look at the output of the other ranks, and at --nproc_per_node",
            )
        time.sleep(_PAUSE)
