"""A tiny model, task and data set that run the real runner in milliseconds."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from lavis.common.dist_utils import all_gather_object_list
from lavis.common.run_schema import validate_run
from lavis.runners.runner_point import PointRunner


class TinyData:
    """`size` samples of 4 numbers; augmentation depends on (epoch, index) alone."""

    def __init__(self, size, offset=0, noise=0.1):
        generator = torch.Generator().manual_seed(7 + offset)
        self.inputs = torch.randn(size, 4, generator=generator)
        self.targets = self.inputs.sum(-1, keepdim=True).tanh()
        self.offset, self.noise, self.epoch_seen = offset, noise, 0

    def __len__(self):
        return len(self.inputs)

    def set_epoch(self, epoch):
        self.epoch_seen = epoch

    def __getitem__(self, index):
        seed = 1000 * self.epoch_seen + index
        noise = torch.randn(4, generator=torch.Generator().manual_seed(seed)) * self.noise
        return {
            "inputs": self.inputs[index] + noise,
            "targets": self.targets[index],
            "instance_id": f"{self.offset}-{index}",
        }

    def collater(self, samples):
        return {
            "inputs": torch.stack([s["inputs"] for s in samples]),
            "targets": torch.stack([s["targets"] for s in samples]),
            "instance_id": [s["instance_id"] for s in samples],
        }


class TinyModel(nn.Module):
    """A frozen layer, a trained head, optional dropout; counts batches in a buffer."""

    def __init__(self, dropout=0.0):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.frozen = nn.Linear(4, 8)
        self.head = nn.Linear(8, 1)
        self.dropout = nn.Dropout(dropout)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
        self.frozen.requires_grad_(False)
        self.register_buffer("batches_seen", torch.zeros(()))

    def forward(self, samples):
        if self.training:
            self.batches_seen += 1
        hidden = self.dropout(self.frozen(samples["inputs"]).relu())
        loss = (self.head(hidden) - samples["targets"]).square().mean()
        return {"loss": loss, "loss_square": loss.detach(), "temperature": torch.tensor(0.5)}


class TinyTask:
    """Scores minus the mean squared error; remembers which ids it trained on."""

    def __init__(self):
        self.trained_ids, self.scored_ids = [], []

    def train_step(self, model, samples):
        self.trained_ids.append(list(samples["instance_id"]))
        return model(samples)

    def before_evaluation(self, model, dataset):
        assert not model.training

    def evaluation(self, model, data_loader, device):
        records = []
        for samples in data_loader:
            for index, name in enumerate(samples["instance_id"]):
                one = {k: samples[k][index : index + 1].to(device) for k in ("inputs", "targets")}
                records.append((name, float(model(one)["loss"])))
        return records

    def after_evaluation(self, val_result, split_name, epoch, dataset, model, runner):
        gathered = [record for part in all_gather_object_list(val_result) for record in part]
        self.scored_ids = [name for name, _ in gathered]
        losses = [loss for _, loss in sorted(gathered)]
        return {"agg_metrics": -sum(losses) / len(losses), "n_scored": len(gathered)}


class TinyConfig:
    """Offers what the runner reads of a RunConfig."""

    def __init__(self, **run):
        defaults = {"task": "tiny", "init_lr": 0.01, "batch_size_train": 4, "max_epoch": 2}
        self.run_cfg = OmegaConf.create(validate_run({**defaults, **run}, "test"))

    def to_dict(self):
        return {"run": OmegaConf.to_container(self.run_cfg)}

    def save(self, path):
        path.write_text(OmegaConf.to_yaml(OmegaConf.create(self.to_dict())))


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
