"""A function that makes a runner of a tiny model, task and data set."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch

from benchmarks.faults.tiny_run import TinyConfig, TinyData, TinyModel, TinyTask
from lavis.runners.runner import PointRunner


@pytest.fixture
def tiny(tmp_path):
    """Return a function that makes a runner: tiny.runner(job_id, dropout=..., **run options)."""
    torch.set_num_threads(1)

    def make(job_id="job", *, dropout=0.0, sizes=(22,), model=None, task=None, **run):
        torch.manual_seed(3)
        datasets = {f"data{n}": {"train": TinyData(size, offset=n)} for n, size in enumerate(sizes)}
        datasets["data0"] |= {"val": TinyData(7, 50, 0.0), "test": TinyData(5, 60, 0.0)}
        options = {"valid_splits": ["val"], "test_splits": ["test"], "output_dir": str(tmp_path)}
        cfg = TinyConfig(**{**options, **run})
        model = model or TinyModel(dropout)
        return PointRunner(
            cfg=cfg, task=task or TinyTask(), model=model, datasets=datasets, job_id=job_id
        )

    def rows(job_id="job", kind=None):
        lines = (tmp_path / job_id / "log.jsonl").read_text().splitlines()
        found = [json.loads(line) for line in lines]
        return [row for row in found if kind in (None, row["kind"])]

    return SimpleNamespace(
        runner=make, rows=rows, path=tmp_path, Model=TinyModel, Task=TinyTask, Data=TinyData
    )
