"""One rank of test_grad_cache.py: trains a tiny contrastive model by the real runner.

Started alone or by `torch.distributed.run --nproc_per_node=2 contrast_worker.py <folder>`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.faults import tiny_run as tiny
from lavis.common.dist_utils import get_rank, get_world_size, init_distributed_mode, leave
from lavis.models.contrastive import ContrastiveTerms, Term
from lavis.models.contrastive.grad_cache import Encoded, whole_batch
from lavis.runners.runner import PointRunner

GLOBAL_BATCH, MICRO_BATCH = 16, 4


class TinyContrast(nn.Module):
    """Two heads on the same numbers; `b` is missing for samples of negative sum."""

    contrasts = True

    def __init__(self, dropout: float = 0.0, masked: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(4, 6), nn.Linear(4, 6)
        self.norm = nn.LayerNorm(4)
        self.dropout, self.masked = nn.Dropout(dropout), masked
        self.terms = ContrastiveTerms([Term("a", "b")])
        self.sizes: list[int] = []

    def encode(self, samples):
        """Return both embeddings, and the validity of `b` as an embedding without gradient."""
        inputs = self.norm(samples["inputs"])
        self.sizes.append(len(inputs))
        embeds = {n: F.normalize(self.dropout(getattr(self, n)(inputs)), dim=-1) for n in "ab"}
        return Encoded(embeds | {"valid": samples["inputs"].sum(-1) > 0}, inputs)

    def contrast(self, embeds, samples, rows=None):
        """Return the one term."""
        keys = torch.tensor([int(name.split("-")[1]) for name in samples["instance_id"]])
        valid = {"b": embeds["valid"]} if self.masked else None
        found = self.terms(embeds, keys, valid, rows=rows)
        return {"loss_a_b": found["loss_a_b"]}

    def other_losses(self, encoded, samples):
        """Return a loss of each sample alone."""
        return {"loss_size": self.a(encoded.rest).square().mean()}

    def total(self, losses):
        """Return the sum."""
        return torch.stack(list(losses.values())).sum()

    def forward(self, samples):
        """Return the losses of a whole batch."""
        return whole_batch(self, samples)


def train(folder, job, model, **run):
    """Train a model for two epochs; returns its weights as one list."""
    options = {"output_dir": str(folder), "valid_splits": [], "test_splits": [], **run}
    cfg = tiny.TinyConfig(**options)
    data = {"data": {"train": tiny.TinyData(48)}}
    torch.manual_seed(get_rank())
    PointRunner(cfg=cfg, task=tiny.TinyTask(), model=model, datasets=data, job_id=job).train()
    return torch.cat([p.detach().flatten() for p in model.parameters()]).tolist()


def main(folder: str) -> None:
    """Run the cases and write one report per rank."""
    torch.set_num_threads(1)
    init_distributed_mode(tiny.TinyConfig(output_dir=folder).run_cfg)
    own = GLOBAL_BATCH // get_world_size()
    whole = {"batch_size_train": own}
    parts = {
        "batch_size_train": MICRO_BATCH,
        "accum_grad_iters": own // MICRO_BATCH,
        "accumulate": "contrast",
    }
    report = {}
    for name, masked in (("plain", False), ("masked", True)):
        model = TinyContrast(masked=masked)
        report[name] = train(folder, f"{name}_whole", TinyContrast(masked=masked), **whole)
        report[f"{name}_contrast"] = train(folder, f"{name}_parts", model, **parts)
        report["largest"] = max(model.sizes)
    Path(folder, f"rank{get_rank()}.json").write_text(json.dumps(report))
    leave()


if __name__ == "__main__":
    main(sys.argv[1])
