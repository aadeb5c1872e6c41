"""Point encoders: the mini-PointNet as published beside ours, outputs compared in the same run.

    python -m benchmarks.point_encoders                   # about a minute on a quiet core
    python -m benchmarks.point_encoders --repeats 1 --batch-size 1 --out /tmp/point_encoders.json

The usual way is the published block: 1x1 convolutions over [M,C,S], BatchNorm as a layer of its
own, the group's maximum concatenated to every point. Ours (`mini_pointnet.py`) reads the same
parameters. Both run in turns, in inference, with one thread; speed-ups compare the best times, and
`cpu_speedup` processor times, which a busy machine distorts less.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from lavis.models.point_encoders.mini_pointnet import MiniPointNet

OUT = Path(__file__).parent / "results" / "point_encoders.json"
CASES = {  # name: channels, G, S, hidden widths, out
    "ulip_512x32": (3, 512, 32, (128, 256, 512), 256),
    "color_512x32": (6, 512, 32, (128, 256, 512), 256),
    "uni3d_512x64": (6, 512, 64, (128, 256, 512), 512),
    "i2p_mae_256x24": (96, 256, 24, (96, 96, 192), 192),
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


def best_times(calls: list[Callable[[], Tensor]], repeats: int) -> list[tuple[float, float]]:
    """Run the calls in turns; return the best (wall, processor) seconds of each."""
    best = [(float("inf"), float("inf"))] * len(calls)
    for _ in range(repeats):
        for index, call in enumerate(calls):
            wall, cpu = time.perf_counter(), time.process_time()
            call()
            spent = (time.perf_counter() - wall, time.process_time() - cpu)
            best[index] = (min(best[index][0], spent[0]), min(best[index][1], spent[1]))
    return best


@torch.no_grad()
def measure(name: str, batch_size: int, repeats: int) -> dict[str, Any]:
    """Measure one case and its largest difference, absolute and relative to the output's size."""
    channels, num_group, group_size, stem, out = CASES[name]
    module = make_module(channels, stem, out)
    generator = torch.Generator().manual_seed(1)
    shape = (batch_size, num_group, group_size, channels)
    neighborhood = torch.randn(shape, generator=generator) * 0.2
    expected, ours = usual(module, neighborhood), module(neighborhood)  # also warms both up
    times = best_times([lambda: usual(module, neighborhood), lambda: module(neighborhood)], repeats)
    (usual_wall, usual_cpu), (our_wall, our_cpu) = times
    return {
        "case": name,
        "batch_size": batch_size,
        "usual_seconds": usual_wall,
        "our_seconds": our_wall,
        "speedup": usual_wall / our_wall,
        "cpu_speedup": usual_cpu / our_cpu,
        "max_difference": float((ours - expected).abs().max()),
        "output_size": float(expected.abs().max()),
    }


def machine() -> dict[str, Any]:
    """Describe the machine, its load included."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if os.name == "posix" else []
    cpu = next((li.split(":")[1].strip() for li in lines if li.startswith("model name")), "")
    return {
        "cpu": cpu or platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "load_average": os.getloadavg()[0],
        "note": "shared with other work while measuring: trust ratios, not seconds",
    }


def main() -> None:
    """Measure from the command line and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = [measure(name, args.batch_size, args.repeats) for name in tqdm(CASES)]
    difference = max(row["max_difference"] for row in rows)
    if difference > 1e-6:
        raise SystemExit(f"ours differs from the published block by {difference}")
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True)
    result = {
        "name": "point_encoders",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip(),
        "machine": machine(),
        "headline": {f"{row['case']}_speedup": round(row["speedup"], 2) for row in rows},
        "rows": rows,
        "equality": {f"{row['case']}_max_difference": row["max_difference"] for row in rows},
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result["headline"], indent=2))


if __name__ == "__main__":
    main()
