"""One rank of test_gathering.py: evaluates splits of many sizes and writes what rank 0 scored.

Started as `python -m torch.distributed.run --nproc_per_node=N gather_worker.py FOLDER` (or alone).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import torch
from omegaconf import OmegaConf
from torch.utils.data import DataLoader

from lavis.common.dist_utils import get_rank, get_world_size, init_distributed_mode, leave
from lavis.runners.samplers import EvalShard
from lavis.tasks.point_task import PointTask, Scores

SIZES = (1, 2, 3, 4, 5, 8, 13, 33)
BATCHES = (1, 2, 3, 5)


class Squares(PointTask):
    """The score of an item is its number squared; an item scored twice would change the mean."""

    name = "squares"

    def valid_step(self, model, samples):
        return [{"instance_id": f"i{k}", "value": k * k} for k in samples["number"].tolist()]

    def score(self, records, dataset, model):
        values = [record["value"] for record in records]
        entry = {"value": sum(values) / len(values), "ci95": None}
        return Scores({"mean": entry}, {}, agg_metrics=entry["value"])


class Numbers:
    def __init__(self, size):
        self.annotation = [{"instance_id": f"i{k}"} for k in range(size)]

    def __len__(self):
        return len(self.annotation)

    def __getitem__(self, index):
        return {"number": index}


def evaluate(folder, size, batch_size):
    """Score one split on all ranks."""
    dataset, rank, world = Numbers(size), get_rank(), get_world_size()
    loader = DataLoader(dataset, batch_size, sampler=EvalShard(size, rank, world))
    task = Squares(OmegaConf.create({"seed": 0}))
    runner = SimpleNamespace(
        result_dir=folder,
        evaluate_only=True,
        evaluated_checkpoint=None,
        unwrapped_model=SimpleNamespace(loaded_checkpoint=None),
        config=SimpleNamespace(to_dict=dict),
    )
    model = SimpleNamespace(device=torch.device("cpu"))
    records = task.evaluation(model, loader)
    split = f"n{size}_b{batch_size}"
    return task.after_evaluation(records, split, "best", dataset, model, runner)


def main():
    folder = Path(sys.argv[1])
    run = OmegaConf.create({"device": "cpu", "dist_backend": "gloo"})
    init_distributed_mode(run)
    found = {f"{n}/{b}": evaluate(folder, n, b)["mean"] for n in SIZES for b in BATCHES}
    (folder / f"rank{get_rank()}.json").write_text(json.dumps(found))
    leave()


if __name__ == "__main__":
    main()
