"""FSDP2 on two gloo processes against DDP, and its checkpoints over another number of processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lavis.runners.shard_files import LOCAL, join

WORKER = Path(__file__).with_name("fsdp_worker.py")
ROOT = Path(__file__).resolve().parents[2]


def launch(folder, job, strategy, processes, *options):
    """Run the worker on every rank without the launcher's start-up; return rank 0's report."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = [
        subprocess.Popen(
            [sys.executable, str(WORKER), str(folder), job, strategy, *options],
            cwd=ROOT,
            env=environment
            | {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(processes)
    ]
    errors = [rank.communicate(timeout=240)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0] * processes, errors[0][-3000:]
    return json.loads((folder / f"{job}-rank0.json").read_text())


@pytest.mark.slow
def test_shards_train_to_the_weights_of_ddp_and_resume_exactly(tmp_path):
    common = ("max_epoch=2", "save_freq=2", "keep_checkpoints=4")
    whole = launch(tmp_path, "ddp", "ddp", 2, *common)
    sharded = launch(tmp_path, "fsdp", "fsdp", 2, *common)
    assert sharded["local"] < 0.6 * whole["local"]
    for name, value in whole["weights"].items():
        torch.testing.assert_close(
            torch.tensor(sharded["weights"][name]), torch.tensor(value), rtol=0, atol=1e-6
        )
    path = f"resume_ckpt_path={tmp_path}/fsdp/checkpoint_step00000008.pth"
    assert launch(tmp_path, "rest", "fsdp", 2, *common, path)["weights"] == sharded["weights"]
    alone = launch(tmp_path, "alone", "ddp", 1, *common, path)  # parts joined, no shards
    for name, value in sharded["weights"].items():
        torch.testing.assert_close(
            torch.tensor(alone["weights"][name]), torch.tensor(value), rtol=0, atol=1e-6
        )


def test_parts_of_uneven_length_are_joined():
    parts = [
        {"w": {LOCAL: torch.ones(2, 3), "shape": [3, 3]}},
        {"w": {LOCAL: torch.zeros(1, 3), "shape": [3, 3]}},
    ]
    assert join(parts)["w"].tolist() == [[1.0] * 3, [1.0] * 3, [0.0] * 3]
