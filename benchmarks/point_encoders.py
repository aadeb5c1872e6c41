"""Point encoders: the mini-PointNet as published beside ours, results compared in the same run.

    python -m benchmarks.point_encoders                   # some minutes
    python -m benchmarks.point_encoders --quick           # one cloud, a few seconds

The usual way is the published block: 1x1 convolutions over [M,C,S], BatchNorm as a layer of its
own, the group's maximum concatenated to every point. Ours (`mini_pointnet.py`) reads the same
parameters. Both run in turns with one thread, in inference and, in the cases `…_training`, forward
and backward with batch statistics; there the gradients of all parameters are compared. A speed-up
is the median over the repetitions of the usual way's time by ours beside it, in wall time and in
processor time, which a busy machine distorts less; the headline is the smaller of the two.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks.record import Record, parse_options
from lavis.models.point_encoders.mini_pointnet import MiniPointNet

TOLERANCE = 1e-6  # of the largest output
# Of the largest gradient, in float64: in float32 rounding may choose another maximum.
GRADIENT_TOLERANCE = 1e-9
TRAINING = "_training"
CASES = {  # name: channels, G, S, hidden widths, out
    "ulip_512x32": (3, 512, 32, (128, 256, 512), 256),
    "color_512x32": (6, 512, 32, (128, 256, 512), 256),
    "uni3d_512x64": (6, 512, 64, (128, 256, 512), 512),
    "i2p_mae_256x24": (96, 256, 24, (96, 96, 192), 192),
    "ulip_512x32_training": (3, 512, 32, (128, 256, 512), 256),
    "bricks_32x64_training": (6, 32, 64, (32, 64, 128), 192),  # Point-Bind's built-in recipe
}


def usual(module: MiniPointNet, neighborhood: Tensor) -> Tensor:
    """Encode neighborhood [B,G,S,C] layer by layer, as the public repositories do."""
    batch_size, num_group, group_size, _ = neighborhood.shape
    points = neighborhood.flatten(0, 1).transpose(1, 2)  # [M,C,S]
    first = module.first_conv(points)
    maximum = first.max(dim=2, keepdim=True).values.expand(-1, -1, group_size)
    second = module.second_conv(torch.cat([maximum, first], dim=1))
    return second.max(dim=2).values.view(batch_size, num_group, -1)


def make_module(channels: int, stem: tuple[int, int, int], out: int) -> MiniPointNet:
    """Return a seeded module in eval mode whose BatchNorm statistics are not trivial."""
    torch.manual_seed(0)
    module = MiniPointNet(channels, stem, out).eval()
    for norm in (module.first_conv[1], module.second_conv[1]):
        assert isinstance(norm, torch.nn.BatchNorm1d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.normal_(std=0.1)
        norm.running_var.uniform_(0.5, 2.0)
    return module


def results_of(
    encode: Callable[[Tensor], Tensor], module: MiniPointNet, neighborhood: Tensor
) -> list[Tensor]:
    """Return the output, and in training the gradients of the parameters of its squared sum."""
    if not module.training:
        with torch.no_grad():
            return [encode(neighborhood)]
    output = encode(neighborhood)
    return [output, *torch.autograd.grad(output.square().sum(), list(module.parameters()))]


def clock(call: Callable[[], Any]) -> dict[str, float]:
    """Run once; return the wall and processor seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def relative(ours: Tensor, expected: Tensor, least: float = 0.0) -> float:
    """Return the largest difference by the largest value, or by `least` where that is more."""
    return float((ours - expected).detach().abs().max()) / max(float(expected.abs().max()), least)


def measure(name: str, batch_size: int, repeats: int) -> dict[str, Any]:
    """Measure one case and its largest difference, absolute and relative to the largest output."""
    channels, num_group, group_size, stem, out = CASES[name]
    module = make_module(channels, stem, out).train(name.endswith(TRAINING))
    generator = torch.Generator().manual_seed(1)
    shape = (batch_size, num_group, group_size, channels)
    neighborhood = torch.randn(shape, generator=generator) * 0.2

    def slow() -> list[Tensor]:
        return results_of(lambda x: usual(module, x), module, neighborhood)

    def fast() -> list[Tensor]:
        return results_of(module, module, neighborhood)

    expected, ours = slow(), fast()  # also warms both up
    pairs = [(clock(slow), clock(fast)) for _ in range(repeats)]
    row: dict[str, Any] = {"case": name, "shape": list(shape), "repeats": repeats}
    for kind in ("wall", "cpu"):
        row[f"speedup_{kind}"] = round(median(a[kind] / b[kind] for a, b in pairs), 2)
        row[f"usual_seconds_{kind}"] = round(median(a[kind] for a, _ in pairs), 4)
        row[f"our_seconds_{kind}"] = round(median(b[kind] for _, b in pairs), 4)
    if module.training:
        module, neighborhood = module.double(), neighborhood.double()
        expected, ours = slow(), fast()
    row["max_difference"] = float((ours[0] - expected[0]).detach().abs().max())
    row["relative_difference"] = relative(ours[0], expected[0])
    if module.training:
        # A bias before a norm has no gradient but rounding: it is compared with the largest of all.
        largest = max(float(gradient.abs().max()) for gradient in expected[1:])
        row["gradient_difference"] = max(
            relative(a, b, 1e-3 * largest) for a, b in zip(ours[1:], expected[1:])
        )
    return row


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure from the command line and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=CASES)
    args = parse_options(parser, "point_encoders", arguments, repeats=3, batch_size=1)
    torch.set_num_threads(1)
    record = Record("point_encoders", args)
    for name in tqdm(args.cases):
        record.add(measure(name, args.batch_size, args.repeats))
    speedups = {
        f"{row['case']}_speedup": min(row["speedup_wall"], row["speedup_cpu"])
        for row in record.rows
    }
    equality = {
        f"{row['case']}: relative difference": row["relative_difference"] for row in record.rows
    }
    gradients = {
        f"{row['case']}: gradients": row["gradient_difference"]
        for row in record.rows
        if "gradient_difference" in row
    }
    record.finish(speedups, equality | gradients)
    if (
        max(equality.values()) > TOLERANCE
        or max(gradients.values(), default=0) > GRADIENT_TOLERANCE
    ):
        raise SystemExit(f"ours differs from the published block: {equality | gradients}")


if __name__ == "__main__":
    main()
