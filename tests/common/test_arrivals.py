"""A rank that does not come to a collective is named by the others, in our words."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path

import pytest
import torch.distributed as dist
from omegaconf import OmegaConf

from benchmarks.faults.processes import fork, free_port, wait_all
from lavis.common import dist_utils
from lavis.common.arrivals import Arrivals
from lavis.common.errors import ProcessGroupError
from lavis.common.fresh_store import fresh_store

TIMED_OUT = "Timed out waiting 2000ms for recv operation to complete\nException raised from ..."


def test_a_sleeping_rank_is_named_by_the_rank_that_waits(tmp_path: Path) -> None:
    port, told = free_port(), tmp_path / "message.txt"

    def rank_main(rank: int) -> None:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        run_cfg = OmegaConf.create({"device": "cpu"})
        dist_utils.init_distributed_mode(run_cfg, timeout=timedelta(seconds=4))
        dist_utils.barrier()
        if rank == 1:
            while not told.exists():  # the parent kills it where the test fails
                time.sleep(0.05)
            return
        try:
            dist_utils.gather_object_list("a record")
        except ProcessGroupError as error:
            told.write_text(str(error))

    ranks = [fork(lambda rank=rank: rank_main(rank), tmp_path / "log.txt") for rank in range(2)]
    codes = wait_all(ranks, 60)
    assert codes == [0, 0], (tmp_path / "log.txt").read_text()
    message = told.read_text()
    assert message.startswith("ranks [1] did not come to a gathering on rank 0")
    assert "rank 0 of 2, collective 2" in message
    assert "all 2 ranks within 0:00:04" in message


@pytest.mark.parametrize(
    ("counts", "absent"), [([3, 3, 2], [2]), ([3, 1, 0], [1, 2]), ([3], [1, 2])]
)
def test_ranks_with_smaller_counts_are_absent(counts: list[int], absent: list[int]) -> None:
    store = dist.HashStore()
    for rank, count in enumerate(counts):
        store.set(f"arrived/{rank}", str(count))
    arrivals = Arrivals(store, 0, 3, timedelta(seconds=2))
    arrivals.count = 2
    with pytest.raises(ProcessGroupError) as raised, arrivals.waiting("a barrier"):
        raise RuntimeError(TIMED_OUT)
    message = str(raised.value)
    assert message.startswith(f"ranks {absent} did not come to a barrier")
    assert TIMED_OUT.splitlines()[0] in message
    assert "Exception raised" not in message


class Gone(dist.HashStore):
    def check(self, keys: list[str]) -> bool:
        raise dist.DistNetworkError("connection was reset")


@pytest.mark.parametrize("store", [None, Gone()])
def test_without_counts_the_message_names_no_rank(store: dist.Store | None) -> None:
    with (
        pytest.raises(ProcessGroupError, match="another rank did not come to a broadcast"),
        Arrivals(store, 1, 2).waiting("a broadcast of rank 0"),
    ):
        raise RuntimeError("Connection closed by peer")


def test_other_errors_pass() -> None:
    with pytest.raises(TypeError), Arrivals(dist.HashStore(), 0, 2).waiting("a barrier"):
        raise TypeError("cannot be pickled")


def test_a_rank_whom_rank_0_does_not_answer_is_told() -> None:
    timeout = timedelta(seconds=0.2)
    with pytest.raises(ProcessGroupError, match=r"rank 0 did not answer[\s\S]*rank 1"):
        fresh_store(dist.HashStore(), 1, 2, timeout)


def test_a_run_whose_ranks_do_not_come_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    place = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    for name, value in {**place, "MASTER_PORT": str(free_port())}.items():
        monkeypatch.setenv(name, value)
    run_cfg = OmegaConf.create({"device": "cpu"})
    with pytest.raises(ProcessGroupError, match=r"did not find each other|not all processes"):
        dist_utils.init_distributed_mode(run_cfg, timeout=timedelta(seconds=1))
