"""Contrast over many micro-batches: peak memory by effective batch, gradients beside one batch.

    python -m benchmarks.grad_cache
    python -m benchmarks.grad_cache --quick               # under two minutes

memory     One step of MixCon3D with a small encoder, as `run.accumulate: contrast` does it. Each
           case is a child process, and its peak is what `getrusage` says at its end.
gradients  The gradients of micro-batches beside those of the whole batch, as a share of their norm,
           in float64 and float32, without dropout.

Clouds have 10,000 coloured points and are drawn from a seed for each micro-batch, so that data do
not count.
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

from benchmarks.record import Record, parse_options
from lavis.models.contrastive.grad_cache import GradCache, whole_batch

ROOT = Path(__file__).resolve().parents[1]
ARCHS = ("ulip_text", "point_blip", "point_llm_contrastive", "mixcon3d")
POINTS, WIDTH = 10_000, 64
ENCODER = {
    "name": "point_bert",
    "trans_dim": 48,
    "depth": 2,
    "num_heads": 2,
    "group_size": 16,
    "num_group": 32,
    "encoder_dims": 32,
    "stem_dims": [16, 32, 32],
    "point_dims": 6,
    "drop_path_rate": 0.0,
}


def build(arch: str) -> Any:
    """Return a seeded model of an arch with a small encoder and its contrast alone."""
    torch.manual_seed(0)
    if arch == "ulip_text":
        from lavis.models.ulip_models.config import UlipTextConfig
        from lavis.models.ulip_models.ulip_text import UlipText

        return UlipText(UlipTextConfig(point_encoder=ENCODER))
    if arch == "point_blip":
        from lavis.models.point_blip_models.config import PointBlipConfig
        from lavis.models.point_blip_models.point_blip import PointBlip

        contrast = {"embed_dim": WIDTH, "loss_weights": {"ptm": 0.0, "ptg": 0.0}}
        sizes = {"qformer_bert": "minilm", "num_query_token": 8, "qformer_width": None}
        whole = {"point_encoder": ENCODER, "freeze_point_encoder": False}
        return PointBlip(PointBlipConfig(**contrast, **sizes, **whole))
    if arch == "point_llm_contrastive":
        from lavis.models.point_llm_contrastive_models import options, point_llm_contrastive

        loss = {"loss_type": "contrastive", "negatives": "batch", "hidden_dim": 64}
        config = options.PointLLMContrastiveConfig(point_encoder=ENCODER, **loss)
        return point_llm_contrastive.PointLLMContrastive(config)
    from lavis.models.mixcon3d_models.config import Mixcon3dConfig
    from lavis.models.mixcon3d_models.mixcon3d import MixCon3D

    return MixCon3D(Mixcon3dConfig(embed_dim=WIDTH, point_encoder=ENCODER))


def draw(index: int, size: int, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    """Return micro-batch `index`: clouds [size,10000,6], views and texts of width 64."""
    generator = torch.Generator().manual_seed(index)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(dtype)

    names = [str(index * size + n) for n in range(size)]
    texts = [f"a brick with {name} studs" for name in names]
    return {
        "point_cloud": torch.rand(size, POINTS, 6, generator=generator).to(dtype) * 2 - 1,
        "image_embeds": normal(size, 3, WIDTH),
        "image_embeds_mask": torch.ones(size, 3, dtype=torch.bool),
        "text_embeds": normal(size, WIDTH),
        "text_embeds_mask": torch.ones(size, dtype=torch.bool),
        "text_input": texts,
        "caption": texts,
        "instance_id": names,
    }


def cached_step(model: Any, count: int, size: int, dtype: torch.dtype = torch.float32) -> None:
    """Accumulate the gradients of `count` micro-batches that are contrasted with each other."""
    cache = GradCache(model, contextlib.nullcontext)
    for index in range(count):
        cache.add(draw(index, size, dtype), last=index == count - 1)
    cache.contrast()
    for index in range(count):
        cache.replay(draw(index, size, dtype))


def taken_gradients(model: Any) -> torch.Tensor:
    """Return all gradients as one vector, and clear them."""
    found = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    model.zero_grad(set_to_none=True)
    return torch.cat(found)


def measure_memory(effective: int, size: int) -> dict[str, Any]:
    """Do one step over `effective` clouds; peak memory of this process in MiB."""
    model = build("mixcon3d").train()
    start = time.perf_counter()
    cached_step(model, effective // size, size)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    row = {"effective_batch": effective, "micro_batch": size, "peak_mib": round(peak, 1)}
    return {"part": "memory", **row, "seconds": round(seconds, 1)}


def measure_gradients(arch: str, name: str, effective: int, size: int) -> dict[str, Any]:
    """Compare the gradients of micro-batches and of the whole batch."""
    dtype, count = getattr(torch, name), effective // size
    model = build(arch).to(dtype).eval()
    parts = [draw(index, size, dtype) for index in range(count)]
    whole = {
        key: torch.cat([part[key] for part in parts])
        if isinstance(value, torch.Tensor)
        else [item for part in parts for item in part[key]]
        for key, value in parts[0].items()
    }
    whole_batch(model, whole)["loss"].backward()
    expected = taken_gradients(model)
    cached_step(model, count, size, dtype)
    difference = ((taken_gradients(model) - expected).norm() / expected.norm()).item()
    row = {"arch": arch, "dtype": name, "effective_batch": effective, "micro_batch": size}
    return {"part": "gradients", **row, "relative_difference": difference}


def in_child(call: str) -> dict[str, Any]:
    """Evaluate a call of this module in a child process, on two threads; return its row."""
    code = f"import json, benchmarks.grad_cache as b; print(json.dumps(b.{call}))"
    environ = os.environ | {"OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{call} ended with {done.returncode}; see its output above")
    return json.loads(done.stdout.splitlines()[-1])


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every case and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--effective", type=int, nargs="+", default=[64, 2048])
    parser.add_argument("--micro", type=int, default=16)
    parser.add_argument("--compared", type=int, default=32, help="whole batch of the gradients")
    parser.add_argument("--archs", nargs="+", default=list(ARCHS), choices=ARCHS)
    small = {"effective": [64, 256], "compared": 8, "archs": ["mixcon3d", "ulip_text"]}
    options = parse_options(parser, "grad_cache", arguments, **small)
    size = min(options.micro, options.compared // 2)
    record = Record("grad_cache", options, points=POINTS, encoder=ENCODER)
    for effective in options.effective:
        record.add(in_child(f"measure_memory({effective}, {options.micro})"))
    for arch in options.archs:
        for dtype in ("float64", "float32"):
            call = f"measure_gradients({arch!r}, {dtype!r}, {options.compared}, {size})"
            record.add(in_child(call))
    record.finish(headline(record.rows), {})


def headline(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the ratio of peaks, largest beside smallest batch, and the worst differences."""
    peaks = {row["effective_batch"]: row["peak_mib"] for row in rows if row["part"] == "memory"}
    worst = {
        f"{dtype}_difference": max(
            row["relative_difference"] for row in rows if row.get("dtype") == dtype
        )
        for dtype in ("float64", "float32")
    }
    ratio = round(peaks[max(peaks)] / peaks[min(peaks)], 3)
    return {"largest_batch": max(peaks), "peak_memory_ratio": ratio} | worst


if __name__ == "__main__":
    main()
