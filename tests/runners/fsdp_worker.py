"""One rank of test_sharding.py: trains a tiny stack whole or in shards and writes what came out.

python fsdp_worker.py <folder> <job> <strategy> [key=value ...]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from omegaconf import OmegaConf
from torch import nn

from benchmarks.faults.tiny_run import tiny_runner
from lavis.common.dist_utils import get_rank, init_distributed_mode, leave


class Stack(nn.Module):
    """A frozen input layer, three blocks, a head."""

    def __init__(self):
        super().__init__()
        self.frozen = nn.Linear(4, 6).requires_grad_(False)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(6, 6), nn.GELU()) for _ in range(3))
        self.head = nn.Linear(6, 1)

    def forward(self, samples):
        hidden = self.frozen(samples["inputs"])
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return {"loss": (self.head(hidden) - samples["targets"]).square().mean()}


def main(folder, job, strategy, *options):
    """Train and write the whole weights."""
    torch.set_num_threads(1)
    init_distributed_mode(OmegaConf.create({"device": "cpu"}))
    torch.manual_seed(0)
    run = dict(OmegaConf.from_dotlist(list(options)))
    runner = tiny_runner(
        Path(folder), job, model=Stack(), strategy=strategy, ema_decay=0.9, grad_clip=0.5, **run
    )
    runner.train()
    state = runner.parts.unwrapped_model.state_dict()
    whole = {
        name: (value.full_tensor() if hasattr(value, "full_tensor") else value).tolist()
        for name, value in state.items()
    }
    local = sum(
        (p.to_local() if hasattr(p, "to_local") else p).numel()
        for p in runner.parts.unwrapped_model.parameters()
    )
    report = {"weights": whole, "local": local, "step": runner.state.global_step}
    Path(folder, f"{job}-rank{get_rank()}.json").write_text(json.dumps(report))
    leave()


if __name__ == "__main__":
    main(*sys.argv[1:])
