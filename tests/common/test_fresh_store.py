"""Ranks of a restarted run find each other in a store that their dead predecessors wrote to."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import torch.distributed as dist

from lavis.common.errors import ProcessGroupError
from lavis.common.fresh_store import fresh_store

WORLD = 3
TIMEOUT = timedelta(seconds=20)


@pytest.fixture
def server() -> dist.TCPStore:
    return dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=TIMEOUT)


def join(server: dist.TCPStore, rank: int) -> dist.Store:
    """One rank with a connection of its own, as after a restart."""
    store = dist.TCPStore("127.0.0.1", server.port, is_master=False, timeout=TIMEOUT)
    return fresh_store(store, rank, WORLD, TIMEOUT)


def attempt(server: dist.TCPStore) -> list[dist.Store]:
    with ThreadPoolExecutor(WORLD) as pool:
        return list(pool.map(lambda rank: join(server, rank), range(WORLD)))


def test_ranks_of_an_attempt_share_keys_and_see_none_of_the_last(server):
    first = attempt(server)
    first[1].set("address/1", "old")
    assert first[2].get("address/1") == b"old"
    second = attempt(server)
    assert not any(store.check(["address/1"]) for store in second)
    second[1].set("address/1", "new")
    assert second[0].get("address/1") == b"new"
    assert first[0].get("address/1") == b"old"


def test_a_rank_that_died_while_joining_does_not_confuse_the_next_attempt(server):
    server.set("attempt/name/1", "died-before-it-was-answered")
    stores = attempt(server)
    stores[1].set("key", "value")
    assert [store.get("key") for store in stores] == [b"value"] * WORLD


def test_a_rank_that_does_not_come_is_told(server):
    with pytest.raises(ProcessGroupError, match="1 of 3 ranks"):
        fresh_store(server, 0, WORLD, timedelta(seconds=0.1))
