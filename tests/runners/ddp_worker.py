"""One rank of the tests in test_ddp.py: runs the tiny task and writes what this rank saw.

Started as `python -m torch.distributed.run --nproc_per_node=2 ddp_worker.py <folder>` (or alone).
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import torch

from benchmarks.faults import tiny_run as tiny
from lavis.common.dist_utils import get_rank, get_world_size, init_distributed_mode, leave
from lavis.common.errors import NonFiniteLossError
from lavis.runners.runner import PointRunner


class PoisonedOnRankOne(tiny.TinyTask):
    """The second batch of rank 1 gives NaN."""

    def train_step(self, model, samples):
        loss = super().train_step(model, samples)["loss"]
        bad = get_rank() == 1 and len(self.trained_ids) == 2
        return {"loss": loss * math.nan if bad else loss}


def make(folder, job, task=None, dropout=0.0, **run):
    """Build a runner whose global batch is 8 at any number of processes."""
    run = {"batch_size_train": 8 // get_world_size(), "output_dir": str(folder), **run}
    cfg = tiny.TinyConfig(valid_splits=["val"], test_splits=["test"], **run)
    datasets = {
        "data": {
            "train": tiny.TinyData(42),
            "val": tiny.TinyData(7, 50, 0.0),
            "test": tiny.TinyData(5, 60, 0.0),
        }
    }
    torch.manual_seed(get_rank())  # ranks differ in dropout, as in train.py
    task = task or tiny.TinyTask()
    return PointRunner(
        cfg=cfg, task=task, model=tiny.TinyModel(dropout), datasets=datasets, job_id=job
    )


def weights(runner):
    """Return the trained weights as lists."""
    return (
        runner.parts.unwrapped_model.head.weight.tolist(),
        runner.parts.unwrapped_model.head.bias.tolist(),
    )


class Stopped(Exception):
    """Stands for a kill."""


class StoppedTask(tiny.TinyTask):
    """Stops in the second epoch, at the eighth batch of each rank."""

    def train_step(self, model, samples):
        if len(self.trained_ids) == 7:
            raise Stopped
        return super().train_step(model, samples)


def resume_case(folder):
    """Return the weights of an undisturbed run and of one that was stopped and resumed."""
    common = {"dropout": 0.5, "save_freq": 1}
    whole = make(folder, "whole", **common)
    whole.train()
    try:
        make(folder, "cut", StoppedTask(), **common).train()
    except Stopped:
        rest = make(folder, "rest", resume_ckpt_path=f"{folder}/cut/checkpoint_last.pth", **common)
        rest.train()
    return weights(whole), weights(rest)


def main(folder):
    """Run the cases and write one report per rank."""
    torch.set_num_threads(1)
    init_distributed_mode(tiny.TinyConfig(output_dir=folder).run_cfg)
    runner = make(folder, "plain")
    report = {"metrics": runner.train(), "weights": weights(runner)}
    report |= {
        "scored_ids": runner.parts.task.scored_ids,
        "trained_ids": runner.parts.task.trained_ids,
    }
    if get_world_size() > 1:
        accumulated = make(folder, "accumulated", accum_grad_iters=2, batch_size_train=2)
        accumulated.train()
        report["accumulated"] = weights(accumulated)
        report["whole"], report["resumed"] = resume_case(folder)
        poisoned = make(folder, "poisoned", PoisonedOnRankOne())
        try:
            poisoned.train()
        except NonFiniteLossError as error:
            report["poisoned"] = str(error)
            report["poisoned_ids"] = poisoned.parts.task.trained_ids[1]
    Path(folder, f"rank{get_rank()}.json").write_text(json.dumps(report))
    leave()


if __name__ == "__main__":
    main(sys.argv[1])
