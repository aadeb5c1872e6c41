"""A room of 100,000 points: memory of a training step, time of inference, the sparse U-Net's speed.

    python -m benchmarks.scene
    python -m benchmarks.scene --quick

plain   The same network in plain torch, as one writes it without compiled extensions: neighbours by
        `searchsorted`, each convolution by gather, matrix product and scatter for every offset,
        BatchNorm and ReLU as layers. Pairs of a kernel map are found once and used again.
ours    `sparse_unet` (lavis/models/point_encoders/sparse_unet.py).

Rounds alternate; both read the same weights. Training and inference are those of a fine-tuned
`text4point_segmentation` with the built-in labels, in a child process each (peak memory).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lavis  # noqa: F401 (sets the policy of threads before torch is loaded)

# isort: split
import torch
from omegaconf import OmegaConf
from torch import Tensor
from torch.nn import functional as F

from benchmarks.record import Record, parse_options
from lavis.models.point_encoders import build_point_encoder
from lavis.models.point_encoders.sparse_layers import SparseConvNorm, SparseStage
from lavis.models.point_encoders.sparse_unet import (
    SparseUnet,
    mean_per_cell,
    point_features,
)
from lavis.models.text4point_models.segmentation import Text4PointSegmentation
from lavis.models.voxel_ops.grid import OFFSETS, VoxelGrid, coarsen, search_neighbours, voxelize

ROOT = Path(__file__).resolve().parents[1]
LABELS = ROOT / "configs/models/text4point/segmentation_rooms.yaml"
ENCODER = {"name": "sparse_unet", "point_dims": 6}
Pairs = list[tuple[Tensor, Tensor]]  # rows of outputs and of inputs, for each offset


def room(points: int, seed: int = 0) -> Tensor:
    """Return a room of 6 x 2.6 x 5 m with 20 boxes: float [1,N,6], all points on surfaces."""
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    size = torch.tensor([6.0, 2.6, 5.0])
    boxes = 0.3 + rand(20, 3) * torch.tensor([1.5, 1.2, 1.5])
    corners = rand(20, 3) * (size - boxes)
    corners[:, 1] = 0
    sizes, origins = torch.cat([size[None], boxes]), torch.cat([torch.zeros(1, 3), corners])
    sides = sizes.prod(1, keepdim=True) / sizes  # areas of the faces across x, y, z
    face = torch.multinomial(sides.flatten(), points, replacement=True, generator=generator)
    box, axis = face // 3, face % 3
    place = rand(points, 3)
    place[torch.arange(points), axis] = (rand(points) > 0.5).float()
    xyz = origins[box] + place * sizes[box] + 0.004 * torch.randn(points, 3, generator=generator)
    return torch.cat([xyz, rand(points, 3)], 1)[None]


def make_unet() -> SparseUnet:
    """Return the seeded U-Net in eval mode, with statistics that are not trivial."""
    torch.manual_seed(0)
    encoder = build_point_encoder(ENCODER)
    assert isinstance(encoder, SparseUnet)
    for name, buffer in encoder.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2.0)
    return encoder.eval()


def pairs_of(table: Tensor) -> Pairs:
    """Return the pairs of a table [M,K]."""
    rows = [(table[:, k] >= 0).nonzero().flatten() for k in range(table.shape[1])]
    return [(row, table[row, k].long()) for k, row in enumerate(rows)]


def plain_near(grid: VoxelGrid) -> Pairs:
    """Find the neighbours of every cell by searchsorted."""
    side = grid.size + 2
    deltas = (torch.tensor(OFFSETS) * torch.tensor([side * side, side, 1])).sum(1)
    return pairs_of(search_neighbours(grid.keys, deltas))


def plain_conv(layer: SparseConvNorm, x: Tensor, pairs: Pairs, count: int) -> Tensor:
    """Convolve x [M',C] to [count,D] by gather, matrix product and scatter; BatchNorm."""
    out = x.new_zeros(count, layer.weight.shape[2])
    for k, (outputs, inputs) in enumerate(pairs):
        out.index_add_(0, outputs, x.index_select(0, inputs) @ layer.weight[k])
    return layer.norm(out)


def plain_stage(stage: SparseStage, x: Tensor, near: Pairs) -> Tensor:
    """Run the residual blocks of a level."""
    for block in stage:
        hidden = F.relu(plain_conv(block.conv1, x, near, len(x)))
        x = F.relu(plain_conv(block.conv2, hidden, near, len(x)) + block.shortcut(x))
    return x


def plain_unet(net: SparseUnet, cloud: Tensor) -> Tensor:
    """Return the features [N,D] of one cloud [1,N,6], on the parameters of ours."""
    points, owner = cloud[0], torch.zeros(cloud.shape[1], dtype=torch.long)
    grid, cell = voxelize(points[:, :3], owner, net.config.voxel_size, net.config.grid_size)
    x = mean_per_cell(point_features(points, owner, net.config.voxel_size), cell, len(grid))
    near, down, skips = [plain_near(grid)], [], []
    x = F.relu(plain_conv(net.stem, x, near[0], len(grid)))
    for level, stage in enumerate(net.encoder):
        x = plain_stage(stage, x, near[level])
        if level < len(net.down):
            skips.append(x)
            grid, to_coarse = coarsen(grid)
            down.append(pairs_of(to_coarse.table))
            near.append(plain_near(grid))
            x = F.relu(plain_conv(net.down[level], x, down[-1], len(grid)))
    for level in reversed(range(len(net.up))):
        up = [(inputs, outputs) for outputs, inputs in down[level]]
        x = F.relu(plain_conv(net.up[level], x, up, len(skips[level])))
        x = plain_stage(net.decoder[level], torch.cat([skips[level], x], 1), near[level])
    return x[cell]


def our_unet(net: SparseUnet, cloud: Tensor) -> Tensor:
    """Return the features [N,D] of one cloud [1,N,6]."""
    return net(cloud).tokens[0]


SIDES: dict[str, Callable[[SparseUnet, Tensor], Tensor]] = {"plain": plain_unet, "ours": our_unet}


@torch.no_grad()
def measure_unet(options: argparse.Namespace, record: Record) -> tuple[float, dict[str, float]]:
    """Time both sides in turn; return the speed-up and the largest differences."""
    net, cloud = make_unet(), room(options.points)
    found = {side: run(net, room(2000)) for side, run in SIDES.items()}  # compiled, warm
    taken: dict[str, list[float]] = {side: [] for side in SIDES}
    for repeat in range(options.repeats):
        for side, run in SIDES.items():
            start, cpu = time.perf_counter(), time.process_time()
            found[side] = run(net, cloud)
            taken[side].append(time.perf_counter() - start)
            used = round(time.process_time() - cpu, 4)
            row = {"side": side, "repeat": repeat, "points": options.points}
            row |= {"seconds": round(taken[side][-1], 4), "cpu_seconds": used}
            record.add({"part": "unet", **row})
    scale = found["plain"].abs().max()
    difference = ((found["ours"] - found["plain"]).abs().max() / scale).item()
    speedup = min(taken["plain"]) / min(taken["ours"])
    return speedup, {"unet_features": difference, "unet_gradients": gradient_difference(net)}


@torch.enable_grad()
def gradient_difference(net: SparseUnet) -> float:
    """Return the norm of the difference of both sides' gradients, relative, on a small room."""
    found = []
    for run in SIDES.values():
        net.zero_grad(set_to_none=True)
        run(net, room(5000)).square().mean().backward()
        found.append(torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None]))
    return ((found[0] - found[1]).norm() / found[0].norm()).item()


def measure_scene(mode: str, points: int) -> dict[str, Any]:
    """Train or infer on one room; return seconds and the peak memory of this process in GB."""
    torch.manual_seed(0)
    labels = OmegaConf.to_container(OmegaConf.load(LABELS)["model"]["labels"])
    section = {"point_encoder": ENCODER, "labels": labels}
    model = Text4PointSegmentation.from_config(OmegaConf.create(section))
    label = torch.arange(points).remainder(len(model.class_names))[None]
    batch = {"point_cloud": room(points), "semantic_label": label}
    run = train_step if mode == "train" else infer
    run(model, {name: value[:, :2000] for name, value in batch.items()})  # compiled, warm
    start = time.perf_counter()
    run(model, batch)
    seconds = round(time.perf_counter() - start, 3)
    peak = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2)
    return {"part": mode, "points": points, "seconds": seconds, "peak_gb": peak}


def train_step(model: Text4PointSegmentation, batch: dict[str, Tensor]) -> None:
    """Compute the losses and all gradients of a batch."""
    model.train()(batch)["loss"].backward()


def infer(model: Text4PointSegmentation, batch: dict[str, Tensor]) -> None:
    """Label every point."""
    model.eval().segment_points(batch).argmax(-1)


def in_child(mode: str, points: int) -> dict[str, Any]:
    """Return `measure_scene` of a child process."""
    call = f"json.dumps(b.measure_scene({mode!r}, {points}))"
    code = f"import json, benchmarks.scene as b; print({call})"
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{call} ended with {done.returncode}; see its output above")
    return json.loads(done.stdout.splitlines()[-1])


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all parts and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=100_000, help="of the room")
    parser.add_argument("--repeats", type=int, default=7, help="timed runs of each side")
    options = parse_options(parser, "scene", arguments, repeats=3)
    record = Record("scene", options)
    speedup, equality = measure_unet(options, record)
    train, infer_ = (record.add(in_child(mode, options.points)) for mode in ("train", "infer"))
    headline = {
        "unet_speedup": round(speedup, 2),
        "infer_seconds": infer_["seconds"],
        "train_gigabytes": train["peak_gb"],
    }
    record.finish(headline, equality)


if __name__ == "__main__":
    main()
