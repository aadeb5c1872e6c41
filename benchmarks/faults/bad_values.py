"""Figures 9 and 10: values that are not finite, and clouds that cannot be used."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.faults.processes import Figure, read_json, run_ranks, write_json
from benchmarks.faults.tiny_run import TinyConfig, TinyTask, tiny_runner
from lavis.common.dist_utils import get_rank
from lavis.common.errors import DataError, NonFiniteLossError
from lavis.datasets.datasets.point_text_datasets import PointTextDataset
from lavis.datasets.stores.point_stores import FilePointStore
from lavis.runners.guard import Guard
from lavis.runners.loss_curve import read_rows
from lavis.runners.runner import PointRunner

RANKS = 2


class PoisonedTask(TinyTask):
    """From batch `first` on, `times` batches of rank 1 are bad: in the loss, or in a gradient."""

    def __init__(self, kind: str, first: int = 2, times: int = 1) -> None:
        super().__init__()
        self.kind, self.bad = kind, range(first, first + times)

    def train_step(self, model: Any, samples: Mapping[str, Any]) -> Any:
        """Return the losses, spoilt when it is time."""
        output = super().train_step(model, samples)
        if get_rank() == 1 and len(self.trained_ids) - 1 in self.bad:
            zero = output["loss"] - output["loss"].detach()
            spoilt = {
                "nan": output["loss"] * float("nan"),
                "inf": output["loss"] * float("inf"),
                "gradient": output["loss"] + zero.abs().sqrt(),  # 0, with the slope of sqrt at 0
            }
            return {"loss": spoilt[self.kind]}
        return output


def _poisoned(folder: Path, job: str, kind: str, times: int, **options: Any) -> None:
    """One rank: train, write what was seen."""
    task = PoisonedTask(kind, times=times)
    runner = tiny_runner(folder, job, task=task, max_epoch=1, lr_sched="constant_lr", **options)
    report: dict[str, Any] = {"error": None}
    try:
        runner.train()
    except NonFiniteLossError as error:
        report["error"] = str(error)
    report |= {
        "weights": runner.parts.unwrapped_model.head.weight.tolist(),
        "ids": task.trained_ids,
        "skipped": runner.state.skipped_steps,
        "step": runner.state.global_step,
    }
    write_json(folder / f"{job}-rank{get_rank()}.json", report)


def _run(folder: Path, job: str, kind: str, times: int = 1, **options: Any) -> list[dict[str, Any]]:
    run_ranks(RANKS, lambda: _poisoned(folder, job, kind, times, **options), folder / "log.txt")
    return [read_json(folder / f"{job}-rank{rank}.json") for rank in range(RANKS)]


def fig09(folder: Path, quick: bool) -> Figure:
    """NaN or infinity on one rank only; policies stop and skip."""
    two_steps = _run(folder, "two", "nan", times=0, max_steps=2)[0]["weights"]
    results: dict[str, bool] = {}
    for kind in ("nan",) if quick else ("nan", "inf", "gradient"):
        ranks = _run(folder, f"stop-{kind}", kind)
        results[f"{kind}: both ranks stop"] = all(rank["error"] for rank in ranks)
        results[f"{kind}: weights unchanged"] = all(rank["weights"] == two_steps for rank in ranks)
        bad_ids = ranks[1]["ids"][2]
        results[f"{kind}: ids named"] = all(name in ranks[0]["error"] for name in bad_ids)
    for kind in ("gradient",) if quick else ("nan", "gradient"):
        ranks = _run(folder, f"skip-{kind}", kind, on_nonfinite="skip")
        rows = read_rows(folder / f"skip-{kind}" / "log.jsonl")
        noted = [row for row in rows if row["kind"] == "skipped_step"]
        results[f"{kind}: skipped and finished"] = all(
            rank["skipped"] == 1 and rank["step"] == 6 and not rank["error"] for rank in ranks
        )
        results[f"{kind}: ids written"] = ranks[1]["ids"][2][0] in str(noted)
    ranks = _run(folder, "many", "nan", times=3, on_nonfinite="skip", max_skipped_steps=2)
    results["more in a row than allowed stop"] = all("3 times" in str(r["error"]) for r in ranks)
    seconds = _seconds_to_agree(folder)
    share = seconds / 0.05
    measured = results | {"agree_ms": round(seconds * 1e3, 3), "share_of_50_ms_step": share}
    return Figure(all(results.values()) and (quick or share < 0.01), measured)


def _seconds_to_agree(folder: Path) -> float:
    """Return the median time of what the guard adds to a step, over two ranks."""

    def run() -> None:
        guard, finite, times = Guard(), torch.tensor(True), []
        for _ in range(300):
            started = time.perf_counter()
            guard.agree(finite)
            times.append(time.perf_counter() - started)
        write_json(folder / f"agree{get_rank()}.json", statistics.median(times))

    run_ranks(RANKS, run, folder / "log.txt")
    return max(read_json(folder / f"agree{rank}.json") for rank in range(RANKS))


class Exploit:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.marker),))


def _corrupt(path: Path, way: int, marker: Path) -> None:
    """Spoil one cloud in one of five ways."""
    if way == 0:
        path.write_bytes(path.read_bytes()[:-100])
    elif way == 1:
        np.save(path, np.full((64, 3), np.nan, np.float32))
    elif way == 2:
        np.save(path, np.zeros((0, 3), np.float32))
    elif way == 3:
        np.save(path, np.ones((64, 5), np.float32))
    else:
        np.save(path, np.array([Exploit(marker)], dtype=object), allow_pickle=True)


def _clouds(folder: Path, count: int, bad: int, marker: Path) -> list[str]:
    """Write clouds and annotations; return the ids of the bad ones."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    names = [f"object{n:03d}" for n in range(count)]
    for name in names:
        np.save(folder / f"{name}.npy", rng.normal(size=(64, 3)).astype(np.float32))
    chosen = [names[int(n)] for n in rng.choice(count, bad, replace=False)]
    for way, name in enumerate(chosen):
        _corrupt(folder / f"{name}.npy", way % 5, marker)
    write_json(folder / "ann.json", [{"object_id": n, "caption": f"a {n}"} for n in names])
    return chosen


class CloudModel(nn.Module):
    """Predicts zero from the mean point."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 1)

    def forward(self, samples: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Return the squared prediction."""
        return {"loss": self.head(samples["point_cloud"].mean(1)).square().mean()}


def _train_on_clouds(folder: Path, clouds: Path, allowed: float) -> None:
    """One rank: an epoch over the clouds; writes what it trained on, or how it was refused."""
    report: dict[str, Any] = {"error": None}
    try:
        dataset = PointTextDataset(
            lambda cloud: torch.from_numpy(cloud),  # a built-in function tells no signature
            str,
            FilePointStore(clouds),
            [clouds / "ann.json"],
            max_bad_fraction=allowed,
        )
        task = TinyTask()
        options = {"output_dir": str(folder), "batch_size_train": 4, "max_epoch": 1, "trackers": []}
        runner = PointRunner(
            cfg=TinyConfig(**options),
            task=task,
            model=CloudModel(),
            datasets={"clouds": {"train": dataset}},
            job_id=clouds.name + "-job",
        )
        runner.train()
        report |= {"steps": runner.state.global_step, "bad": dataset.bad_samples}
        report["ids"] = [i for ids in task.trained_ids for i in ids]
    except DataError as error:
        report["error"] = str(error)
    write_json(folder / f"{clouds.name}-rank{get_rank()}.json", report)


def fig10(folder: Path, quick: bool) -> Figure:
    """1%, 10% and 100% of the clouds are corrupt; 2% are allowed."""
    marker, count = folder / "executed", 100 if quick else 500
    results: dict[str, Any] = {}
    for percent in (1, 10, 100):
        clouds = folder / f"clouds{percent}"
        injected = _clouds(clouds, count, count * percent // 100, marker)
        run_ranks(RANKS, lambda c=clouds: _train_on_clouds(folder, c, 0.02), folder / "log.txt")
        ranks = [read_json(folder / f"{clouds.name}-rank{rank}.json") for rank in range(RANKS)]
        if percent == 1:
            named = [sorted(bad["instance_id"] for bad in rank["bad"]) for rank in ranks]
            trained = [set(rank["ids"]) for rank in ranks]
            results["1%: skipped == injected, listed"] = named == [sorted(injected)] * RANKS
            results["1%: ranks in step"] = ranks[0]["steps"] == ranks[1]["steps"] > 0
            results["1%: none was trained on"] = not set(injected) & (trained[0] | trained[1])
            start = read_rows(folder / f"{clouds.name}-job" / "log.jsonl")[0]
            results["1%: in the log"] = len(start["bad_samples"]) == len(injected)
        else:
            results[f"{percent}%: DataError"] = all(
                f"{len(injected)} of {count}" in str(rank["error"]) for rank in ranks
            )
    results["no pickle executed"] = not marker.exists()
    return Figure(all(results.values()), results)
