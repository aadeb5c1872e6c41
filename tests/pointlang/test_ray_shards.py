"""Shards on a Ray cluster, with a worker that dies midway."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from lavis.datasets.convert import ray_engine
from pointlang import ray_shards, shards
from pointlang.shards import Shard
from pointlang.task import Task

ray = pytest.importorskip("ray")


class Deadly(Shard):
    """Kills the first worker process that it reaches."""

    def __reduce__(self) -> tuple[Any, ...]:
        return arrive, (self.path, self.files)


def arrive(path: Path, files: tuple[str, ...]) -> Shard:
    """Return the shard, in the second process."""
    marker = path.parent / "killed"
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return Shard(path, files)


@pytest.mark.slow
def test_a_worker_that_dies_loses_no_file(tmp_path: Path) -> None:
    files = [str(tmp_path / f"absent{number}.ply") for number in range(6)]
    planned = shards.plan(Task("caption"), files, tmp_path / "out", 2, "jsonl")
    planned[1] = Deadly(planned[1].path, planned[1].files)
    ray_engine.imported()  # sets Ray's environment
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        counts = list(ray_shards.run(Task("caption"), planned, "local"))
    finally:
        ray.shutdown()
    assert counts == [2, 2, 2]
    assert (tmp_path / "out" / "killed").exists()
    parts = sorted((tmp_path / "out").glob("part-*"))
    rows = [line for path in parts for line in path.read_text(encoding="utf-8").splitlines()]
    assert [sum(file in row for row in rows) for file in files] == [1] * 6
