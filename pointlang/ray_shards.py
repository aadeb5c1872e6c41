"""Predict shards on a Ray cluster (`--ray ADDRESS`; requirements-ray.txt).

Every machine reads the files, the model and this repository at the same paths, and writes to the
same folder. A worker process loads the model once. A task whose process dies is run again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from lavis.common.errors import DataError
from lavis.datasets.convert import ray_engine
from pointlang.shards import Shard, predict_shard
from pointlang.task import Task

ATTEMPTS = 3  # of a shard


def run(task: Task, shards: Sequence[Shard], address: str) -> Iterator[int]:
    """Predict shards, in any order; yields the number of files of each when it is there.

    Args:
        task: what is predicted.
        shards: absolute paths.
        address: `host:port` of the cluster's head, `auto` or `local`.

    Raises:
        DependencyError: Ray is not installed.
        ConfigError: no cluster at the address.
        DataError: at the end, shards whose workers died `ATTEMPTS` times are named.
    """
    ray = ray_engine.imported()
    needs: dict[str, Any] = {"num_cpus": int(os.environ.get("OMP_NUM_THREADS", "1"))}
    needs |= {"num_gpus": 1} if task.device.startswith("cuda") else {}
    died = []
    with ray_engine.connected(ray, address):
        remote = ray.remote(max_retries=ATTEMPTS - 1, **needs)(predict_shard)
        running = {remote.remote(task, shard): shard for shard in shards}
        while running:
            (done,), _ = ray.wait(list(running), num_returns=1)
            shard = running.pop(done)
            try:
                ray.get(done)
                yield len(shard.files)
            except ray_engine.deaths(ray):
                died.append(shard.path.name)
    if died:
        fix = "give the command again with --shard-size smaller, or find the file that kills it"
        got = f"{len(died)} shards: {', '.join(died[:5])}"
        raise DataError("Workers died while predicting.", got=got, fix=fix)
