"""What the training loop costs beside the model: work per step, and waiting for checkpoints.

    python -m benchmarks.runner_overhead              # about a minute
    python -m benchmarks.runner_overhead --quick      # under two minutes

steps   A step whose model takes 50 ms without using the processor, then backward pass and update of
        a tiny model: in the runner and in a bare loop over the same data. What the runner computes
        more (guards, clipping, schedule, exact order, progress, log, TensorBoard) is the overhead.
saves   A run with as many trained parameters as the demo's stage 1, saved every 50 steps of 1.3 s,
        which is what those steps take; the share of the time that saves (gathering, writing, hash,
        fsync) hold the loop.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from benchmarks.faults.tiny_run import TinyData, TinyModel, TinyTask, tiny_runner
from benchmarks.record import Record, parse_options

STEP_SECONDS = 0.05
SAVED_EVERY, STAGE1_STEP_SECONDS = 50, 1.3


class WaitingTask(TinyTask):
    """A model that takes its time elsewhere."""

    def train_step(self, model: nn.Module, samples: Mapping[str, Any]) -> Any:
        """Return the losses after 50 ms."""
        time.sleep(STEP_SECONDS)
        return super().train_step(model, samples)


class HeavyModel(TinyModel):
    """The tiny model with many more trained parameters, which its loss barely reads."""

    def __init__(self, parameters: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(parameters))

    def forward(self, samples: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Return the squared error, and a term that gives every parameter a gradient."""
        output = super().forward(samples)
        return output | {"loss": output["loss"] + self.weights.sum() * 1e-9}


def step_overhead(folder: Path, steps: int) -> dict[str, Any]:
    """Measure the processor seconds of a step beside the model's 50 ms.

    Two runs differ in their number of steps alone, so what a run costs once (start, evaluation,
    last checkpoint, loss curve) cancels.
    """
    options = {"max_epoch": 10_000, "eval_freq": 10_000, "log_freq": 10, "num_workers": 0}
    few, spent = 20, []
    for job, count in (("warm-up", few), ("few", few), ("many", few + steps)):
        runner = tiny_runner(
            folder,
            job,
            size=8 * (few + steps),  # one epoch
            task=WaitingTask(),
            max_steps=count,
            **options,
        )
        start = time.process_time()
        runner.train()
        spent.append(time.process_time() - start)
    bare = bare_loop(few + steps) - bare_loop(few)
    overhead = (spent[-1] - spent[-2] - bare) / steps
    return {
        "part": "steps",
        "steps": steps,
        "milliseconds_per_step": round(1e3 * overhead, 3),
        "milliseconds_of_the_bare_loop": round(1e3 * bare / steps, 3),
        "share_of_50_ms": overhead / STEP_SECONDS,
    }


def bare_loop(steps: int) -> float:
    """Return the processor seconds of so many steps of the same model and data, bare."""
    model = TinyModel()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2)
    data = TinyData(8 * steps)
    loader = DataLoader(data, batch_size=8, shuffle=True, collate_fn=data.collater)
    start = time.process_time()
    for batch in loader:
        time.sleep(STEP_SECONDS)
        model(batch)["loss"].backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return time.process_time() - start


def save_stall(folder: Path, parameters: int, saves: int) -> dict[str, Any]:
    """Measure how long one save holds the loop."""
    runner = tiny_runner(folder, "heavy", model=HeavyModel(parameters), max_steps=1, max_epoch=1)
    runner.train()
    seconds = []
    for _ in range(saves):
        start = time.perf_counter()
        runner.checkpoints.save()
        seconds.append(time.perf_counter() - start)
    size = (folder / "heavy" / "checkpoint_last.pth").stat().st_size
    stall = statistics.median(seconds)
    return {
        "part": "saves",
        "trained_parameters": parameters,
        "checkpoint_megabytes": round(size / 1e6, 1),
        "seconds_per_save": [round(value, 3) for value in seconds],
        "share_of_time": stall / (stall + SAVED_EVERY * STAGE1_STEP_SECONDS),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure both parts and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--parameters", type=int, default=31_376_190)
    parser.add_argument("--saves", type=int, default=5)
    small = {"steps": 100, "parameters": 1_000_000, "saves": 2}
    options = parse_options(parser, "runner_overhead", arguments, **small)
    torch.set_num_threads(1)
    record = Record("runner_overhead", options)
    with tempfile.TemporaryDirectory() as folder:
        steps = record.add(step_overhead(Path(folder), options.steps))
        saves = record.add(save_stall(Path(folder), options.parameters, options.saves))
    headline = {
        "overhead_share_of_50_ms_steps": steps["share_of_50_ms"],
        "save_stall_share": saves["share_of_time"],
    }
    record.finish(headline, {})


if __name__ == "__main__":
    main()
