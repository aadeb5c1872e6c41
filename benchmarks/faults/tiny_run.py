"""A tiny model, task and data set that run the real runner in milliseconds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import nn

from lavis.common.dist_utils import all_gather_object_list, get_world_size
from lavis.common.files import replace_file
from lavis.config.run_schema import validate_run
from lavis.runners.runner import PointRunner


class TinyData:
    """`size` samples of 4 numbers; augmentation depends on (epoch, index) alone."""

    def __init__(self, size: int, offset: int = 0, noise: float = 0.1) -> None:
        generator = torch.Generator().manual_seed(7 + offset)
        self.inputs = torch.randn(size, 4, generator=generator)
        self.targets = self.inputs.sum(-1, keepdim=True).tanh()
        self.offset, self.noise, self.epoch_seen = offset, noise, 0

    def __len__(self) -> int:
        return len(self.inputs)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the noise depends on."""
        self.epoch_seen = epoch

    def __getitem__(self, index: int) -> dict[str, Any]:
        seed = 1000 * self.epoch_seen + index
        noise = torch.randn(4, generator=torch.Generator().manual_seed(seed)) * self.noise
        return {
            "inputs": self.inputs[index] + noise,
            "targets": self.targets[index],
            "instance_id": f"{self.offset}-{index}",
        }

    def collater(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        """Batch samples."""
        return {
            "inputs": torch.stack([s["inputs"] for s in samples]),
            "targets": torch.stack([s["targets"] for s in samples]),
            "instance_id": [s["instance_id"] for s in samples],
        }


class TinyModel(nn.Module):
    """A frozen layer, a trained head, optional dropout; counts batches in a buffer."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.frozen = nn.Linear(4, 8)
        self.head = nn.Linear(8, 1)
        self.dropout = nn.Dropout(dropout)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
        self.frozen.requires_grad_(False)
        self.register_buffer("batches_seen", torch.zeros(()))

    def forward(self, samples: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Return the squared error."""
        if self.training:
            self.batches_seen += 1
        hidden = self.dropout(self.frozen(samples["inputs"]).relu())
        loss = (self.head(hidden) - samples["targets"]).square().mean()
        return {"loss": loss, "loss_square": loss.detach(), "temperature": torch.tensor(0.5)}


class TinyTask:
    """Scores minus the mean squared error; remembers which ids it trained on."""

    def __init__(self) -> None:
        self.trained_ids: list[list[str]] = []
        self.scored_ids: list[str] = []

    def train_step(self, model: nn.Module, samples: Mapping[str, Any]) -> Any:
        """Return the model's losses."""
        self.trained_ids.append(list(samples["instance_id"]))
        return model(samples)

    def before_evaluation(self, model: nn.Module, dataset: Any) -> None:
        """Check that the model is in evaluation mode."""
        assert not model.training

    def evaluation(self, model: nn.Module, data_loader: Any, device: torch.device) -> list[Any]:
        """Return (id, loss) of this rank's share."""
        records = []
        for samples in data_loader:
            for index, name in enumerate(samples["instance_id"]):
                one = {k: samples[k][index : index + 1].to(device) for k in ("inputs", "targets")}
                records.append((name, float(model(one)["loss"])))
        return records

    def after_evaluation(self, val_result: list[Any], **kwargs: Any) -> dict[str, Any]:
        """Return the score over all ranks."""
        gathered = [record for part in all_gather_object_list(val_result) for record in part]
        self.scored_ids = [name for name, _ in gathered]
        losses = [loss for _, loss in sorted(gathered)]
        return {"agg_metrics": -sum(losses) / len(losses), "n_scored": len(gathered)}


class TinyConfig:
    """Offers what the runner reads of a RunConfig."""

    def __init__(self, **run: Any) -> None:
        defaults = {"task": "tiny", "init_lr": 0.01, "batch_size_train": 4, "max_epoch": 2}
        self.run_cfg = OmegaConf.create(validate_run({**defaults, **run}, "test"))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {"run": OmegaConf.to_container(self.run_cfg)}

    def save(self, path: Path) -> None:
        """Write yaml."""
        replace_file(path, OmegaConf.to_yaml(OmegaConf.create(self.to_dict())).encode())


def tiny_runner(
    folder: Path,
    job: str,
    *,
    size: int = 48,
    global_batch: int = 8,
    dropout: float = 0.0,
    task: TinyTask | None = None,
    model: nn.Module | None = None,
    seed: int = 3,
    **run: Any,
) -> PointRunner:
    """Return a runner whose global batch is the same for any number of processes.

    Args:
        folder: run.output_dir.
        job: run.job_id.
        size: training samples.
        global_batch: samples of a step over all ranks and accumulated batches.
        dropout: of the model's only dropout.
        task, model: instead of the tiny ones.
        seed: torch's global seed while building.
        run: keys of the run section.
    """
    torch.manual_seed(seed)
    share = global_batch // (get_world_size() * run.get("accum_grad_iters", 1))
    options = {"output_dir": str(folder), "batch_size_train": share, "trackers": []}
    options |= {"valid_splits": ["val"], "test_splits": ["test"], "job_id": job, "log_freq": 1}
    splits = {"train": TinyData(size), "val": TinyData(7, 50, 0.0), "test": TinyData(5, 60, 0.0)}
    return PointRunner(
        cfg=TinyConfig(**{**options, **run}),
        task=task or TinyTask(),
        model=model if model is not None else TinyModel(dropout),
        datasets={"data": splits},
        job_id=job,
    )
