"""A contrastive step of MixCon3D's published shape beside a plain implementation of the same step.

    python -m benchmarks.contrastive_step
    python -m benchmarks.contrastive_step --quick
    python -m benchmarks.contrastive_step --effective 2048      # the published batch: hours

Clouds of 10,000 coloured points, PPAT of scaling 3, four views, four terms; a large batch of
micro-batches that are contrasted with each other.

plain   What public code does: a torch loop for the sampling, balls by sorting a [B,G,N] table, the
        shared MLP on channels-first maps, and accumulation as in open_clip: every micro-batch
        computes the whole loss again. (The release samples by DGL, which is not installed here.)
ours    The same parameters through lavis/models: `run.accumulate: contrast`.

Rows alternate; memory is the peak of a child process each. Gradients are compared; those of the
scales are divided by the number of micro-batches on the plain side, which multiplies them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lavis  # noqa: F401 (sets the policy of threads before torch is loaded)

# isort: split
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.point_ops import usual_fps
from benchmarks.record import Record, parse_options
from lavis.models.contrastive.grad_cache import GradCache
from lavis.models.mixcon3d_models.config import Mixcon3dConfig
from lavis.models.mixcon3d_models.mixcon3d import MixCon3D
from lavis.models.point_encoders.set_abstraction import SetAbstraction

ROOT = Path(__file__).resolve().parents[1]
POINTS, VIEWS, WIDTH = 10_000, 4, 1280


class UsualAbstraction(nn.Module):
    """A set abstraction as public repositories write it, on the parameters of ours."""

    def __init__(self, own: SetAbstraction) -> None:
        super().__init__()
        self.own = own

    def forward(
        self, xyz: Tensor, features: Tensor, start: Any = 0, lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Abstract xyz [B,N,3], features [B,N,D] -> centers [B,G,3], features [B,G,out]."""
        own, rows = self.own, torch.arange(len(xyz))[:, None]
        center = xyz[rows, usual_fps(xyz, own.num_center)]  # [B,G,3]
        index = usual_balls(center, xyz, own.radius, own.num_sample)  # [B,G,S]
        rows = rows[..., None]
        group = torch.cat([xyz[rows, index] - center[:, :, None], features[rows, index]], -1)
        maps = group.permute(0, 3, 2, 1)  # [B,C,S,G]
        for conv, norm in zip(own.mlp_convs, own.mlp_bns):
            maps = F.relu(norm(conv(maps)))
        return center, maps.amax(2).transpose(1, 2)


def usual_balls(center: Tensor, xyz: Tensor, radius: float, count: int) -> Tensor:
    """Return the first `count` points within a radius of each center: [B,G,count]."""
    points = xyz.shape[1]
    squared = (center**2).sum(-1)[..., None] + (xyz**2).sum(-1)[:, None]
    squared = squared - 2 * center @ xyz.transpose(1, 2)  # [B,G,N]
    index = torch.arange(points).repeat(*center.shape[:2], 1)
    index[squared > radius**2] = points
    index = index.sort(-1)[0][..., :count]
    return torch.where(index == points, index[..., :1], index)


def build(plain: bool, scaling: int) -> MixCon3D:
    """Return the seeded model, for training."""
    torch.manual_seed(0)
    encoder = {"name": "ppat", "scaling": scaling, "out_dim": WIDTH}
    model = MixCon3D(Mixcon3dConfig(embed_dim=WIDTH, point_encoder=encoder)).train()
    if plain:
        net: Any = model.point_encoder
        net.ppat.sa = UsualAbstraction(net.ppat.sa)
    return model


def draw(index: int, size: int) -> dict[str, Any]:
    """Return micro-batch `index`: clouds, features of views and of texts."""
    generator = torch.Generator().manual_seed(index)
    xyz = F.normalize(torch.randn(size, POINTS, 3, generator=generator), dim=-1)
    rgb = torch.rand(size, POINTS, 3, generator=generator)
    return {
        "point_cloud": torch.cat([xyz, rgb], -1),
        "image_embeds": torch.randn(size, VIEWS, WIDTH, generator=generator),
        "image_embeds_mask": torch.ones(size, VIEWS, dtype=torch.bool),
        "text_embeds": torch.randn(size, WIDTH, generator=generator),
        "text_embeds_mask": torch.ones(size, dtype=torch.bool),
    }


def our_step(model: MixCon3D, count: int, size: int) -> None:
    """Accumulate the gradients of contrasted micro-batches."""
    cache = GradCache(model, contextlib.nullcontext)
    for index in range(count):
        cache.add(draw(index, size), last=index == count - 1)
    cache.contrast()
    for index in range(count):
        cache.replay(draw(index, size))


def plain_step(model: MixCon3D, count: int, size: int) -> None:
    """The same as open_clip writes it: the whole loss for every micro-batch."""
    names = ("point", "image", "text", "joint")
    with torch.no_grad():
        known = [model.encode(draw(index, size)).embeds for index in range(count)]
    for index in range(count):
        own = model.encode(draw(index, size)).embeds
        parts = [own if place == index else other for place, other in enumerate(known)]
        joined = {name: torch.cat([part[name] for part in parts]) for name in names}
        losses = []
        for term in model.logit_scale.terms:
            logits = model.logit_scale.scale(term) * joined[term.a] @ joined[term.b].T
            labels = torch.arange(len(logits))
            pair = F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)
            losses.append(term.weight * pair / 2)
        torch.stack(losses).sum().backward()
    for log_scale in model.logit_scale.parameters():
        if log_scale.grad is not None:
            log_scale.grad /= count


STEPS = {"plain": plain_step, "ours": our_step}


def gradients(model: MixCon3D) -> Tensor:
    """Return all gradients as one vector, by the order of ours."""
    found = {name.replace(".sa.own.", ".sa."): p.grad for name, p in model.named_parameters()}
    return torch.cat([grad.flatten() for _, grad in sorted(found.items()) if grad is not None])


def measure_memory(side: str, effective: int, size: int, scaling: int) -> dict[str, Any]:
    """Do one step; return its seconds and the peak memory of this process in MiB."""
    model = build(side == "plain", scaling)
    start = time.perf_counter()
    STEPS[side](model, effective // size, size)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    row = {"side": side, "effective_batch": effective, "micro_batch": size}
    return {"part": "memory", **row, "peak_mib": round(peak, 1), "seconds": round(seconds, 1)}


def in_child(call: str) -> dict[str, Any]:
    """Evaluate a call of this module in a child process; return its row."""
    code = f"import json, benchmarks.contrastive_step as b; print(json.dumps(b.{call}))"
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{call} ended with {done.returncode}; see its output above")
    return json.loads(done.stdout.splitlines()[-1])


def measure_speed(options: argparse.Namespace, record: Record) -> tuple[float, float]:
    """Time both sides in turn; return the speed-up and the difference of the gradients."""
    count, size = options.compared // options.micro, options.micro
    models = {side: build(side == "plain", options.scaling) for side in STEPS}
    taken: dict[str, list[float]] = {side: [] for side in STEPS}
    found: dict[str, Tensor] = {}
    our_step(models["ours"], 1, 1 if size == 1 else 2)  # compiled before the clock runs
    for repeat in range(options.repeats):
        for side, step in STEPS.items():
            models[side].zero_grad(set_to_none=True)
            start, cpu = time.perf_counter(), time.process_time()
            step(models[side], count, size)
            taken[side].append(time.perf_counter() - start)
            used = time.process_time() - cpu
            found[side] = gradients(models[side])
            row = {"side": side, "repeat": repeat, "batch": options.compared}
            row |= {"seconds": round(taken[side][-1], 2), "cpu_seconds": round(used, 2)}
            record.add({"part": "speed", **row})
    difference = (found["ours"] - found["plain"]).norm() / found["plain"].norm()
    return min(taken["plain"]) / min(taken["ours"]), difference.item()


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure both parts and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scaling", type=int, default=3, help="of PPAT")
    parser.add_argument("--micro", type=int, default=16, help="objects of a micro-batch")
    parser.add_argument("--compared", type=int, default=32, help="objects of a timed step")
    parser.add_argument("--repeats", type=int, default=3, help="timed steps of each side")
    parser.add_argument("--smallest", type=int, default=32, help="batch that memory starts from")
    parser.add_argument("--effective", type=int, default=256, help="largest batch of memory")
    quick = {"micro": 2, "compared": 4, "repeats": 1, "smallest": 4, "effective": 8}
    options = parse_options(parser, "contrastive_step", arguments, **quick)
    record = Record("contrastive_step", options, points=POINTS, views=VIEWS)
    speedup, difference = measure_speed(options, record)
    sizes = (options.smallest, options.effective)
    rows = [
        record.add(in_child(f"measure_memory('ours', {n}, {options.micro}, {options.scaling})"))
        for n in sizes
    ]
    ratio = rows[1]["peak_mib"] / rows[0]["peak_mib"]
    headline = {"speedup": round(speedup, 2), "memory_ratio": round(ratio, 3)}
    record.finish(headline, {"gradient_difference": difference})


if __name__ == "__main__":
    main()
