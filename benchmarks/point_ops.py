"""Point operators: ours and the usual way side by side, indices compared in the same run.

    python -m benchmarks.point_ops                     # one and two threads; about a minute
    python -m benchmarks.point_ops --quick             # one thread, once

The usual way is what public point-language repositories run on a CPU: a torch loop for
farthest-point sampling, and neighbours by the expansion |a|²+|b|²-2ab and topk. Both start at
point 0. On a machine with CUDA the torch loop and our GPU back end are added.

A speed-up is the median over the repetitions of the usual way's time by ours beside it (the median
of five runs), in wall time and in processor time, which a busy machine distorts less. The headline
is the smaller of the two with one thread.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks.record import Record, parse_options
from lavis.models.point_ops import farthest_point_sample, gather_points, knn, resolve_backend

CASES = {  # name: B, N, S
    "fps_8192_512": (32, 8192, 512),
    "fps_10000_512": (8, 10000, 512),
    "fps_2048_128": (32, 2048, 128),
}
NEIGHBORS = 32
OUR_RUNS = 5  # a run of ours is short: one interruption would decide a single one
BYTES_PER_POINT = 20  # a sampling step reads x, y, z and the distance and writes the distance


def make_clouds(batch_size: int, num_points: int, device: str = "cpu") -> Tensor:
    """Return clouds [B,N,3] in the unit sphere: half on spheres, half in balls."""
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(batch_size, num_points, 3, generator=generator)
    direction = torch.nn.functional.normalize(direction, dim=-1)
    radius = torch.rand(batch_size, num_points, 1, generator=generator) ** (1 / 3)
    radius[: batch_size // 2] = 1.0
    return (direction * radius).to(device)


def usual_fps(xyz: Tensor, num_samples: int) -> Tensor:
    """Sample as public repositories do: a torch loop over the whole batch, from point 0."""
    batch_size, num_points, _ = xyz.shape
    picked = torch.zeros(batch_size, num_samples, dtype=torch.long, device=xyz.device)
    nearest = torch.full((batch_size, num_points), 1e10, device=xyz.device)
    farthest = torch.zeros(batch_size, dtype=torch.long, device=xyz.device)
    rows = torch.arange(batch_size, device=xyz.device)
    for step in range(num_samples):
        picked[:, step] = farthest
        center = xyz[rows, farthest].unsqueeze(1)  # [B,1,3]
        distance = torch.sum((xyz - center) ** 2, dim=-1)  # [B,N]
        closer = distance < nearest
        nearest[closer] = distance[closer]
        farthest = torch.max(nearest, dim=-1)[1]
    return picked


def usual_knn(query: Tensor, xyz: Tensor, k: int) -> Tensor:
    """Find neighbours as public repositories do: the expanded square distance, then topk."""
    distance = -2 * torch.matmul(query, xyz.transpose(1, 2))  # [B,S,N]
    distance += query.square().sum(-1)[:, :, None]
    distance += xyz.square().sum(-1)[:, None, :]
    return distance.topk(k, dim=-1, largest=False, sorted=False).indices


def true_neighbors(query: Tensor, xyz: Tensor, k: int) -> Tensor:
    """Return the sorted indices Long [B,S,k] of the neighbours by float64 distances."""
    found = []
    for centers, cloud in zip(query.double(), xyz.double()):
        distance = torch.cdist(centers, cloud, compute_mode="donot_use_mm_for_euclid_dist")
        found.append(distance.topk(k, largest=False).indices.sort(-1).values)
    return torch.stack(found)


def wrong_groups(found: Tensor, truth: Tensor) -> int:
    """Count the groups of found [B,S,k] that are another set than the sorted truth [B,S,k]."""
    return int((found.sort(-1).values != truth).any(-1).sum())


def clock(run: Callable[[], Tensor], runs: int = 1) -> tuple[dict[str, float], Tensor]:
    """Run several times; return the median wall and processor seconds, and the last result."""
    walls, cpus = [], []
    for _ in range(runs):
        wall, cpu = time.perf_counter(), time.process_time()
        result = run()
        if result.is_cuda:
            torch.cuda.synchronize()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return {"wall": median(walls), "cpu": median(cpus)}, result


Times = dict[str, dict[str, float]]  # operator: seconds by kind of time, of one repetition


def speedups(name: str, times: list[Times], parts: Sequence[str]) -> dict[str, float]:
    """Return the median ratios of the usual way to ours for the sum of `parts`, by kind of time."""
    figures = {}
    for kind in ("wall", "cpu"):
        ratios = [
            sum(once[f"usual_{part}"][kind] for part in parts)
            / sum(once[part][kind] for part in parts)
            for once in times
        ]
        figures[f"{name}_speedup_{kind}"] = round(median(ratios), 1)
    return figures


def typical(times: list[Times]) -> Times:
    """Return the median seconds of every operator."""
    return {
        key: {kind: round(median(once[key][kind] for once in times), 6) for kind in times[0][key]}
        for key in times[0]
    }


def measure_case(name: str, threads: int, repeats: int) -> dict[str, Any]:
    """Measure sampling and neighbours of one case on the CPU, ours and the usual way in turns."""
    torch.set_num_threads(threads)
    batch_size, num_points, num_samples = CASES[name]
    xyz = make_clouds(batch_size, num_points)
    times: list[Times] = []
    for _ in range(repeats):
        now: Times = {}
        now["usual_fps"], usual = clock(lambda: usual_fps(xyz, num_samples))
        now["fps"], picked = clock(lambda: farthest_point_sample(xyz, num_samples), OUR_RUNS)
        center = gather_points(xyz, picked)
        now["usual_knn"], usual_near = clock(lambda c=center: usual_knn(c, xyz, NEIGHBORS))
        now["knn"], near = clock(lambda c=center: knn(c, xyz, NEIGHBORS), OUR_RUNS)
        times.append(now)
    reference = farthest_point_sample(xyz[:2], num_samples, backend="torch")
    reference_near = knn(center[:2], xyz[:2], NEIGHBORS, backend="torch")
    truth = true_neighbors(center, xyz, NEIGHBORS)
    return {
        "case": name,
        "device": "cpu",
        "threads": threads,
        "shape": [batch_size, num_points, num_samples, NEIGHBORS],
        "repeats": repeats,
        **speedups("fps", times, ["fps"]),
        **speedups("knn", times, ["knn"]),
        **speedups("fps_knn", times, ["fps", "knn"]),
        "seconds": typical(times),
        "groups": batch_size * num_samples,
        "usual_wrong_groups": wrong_groups(usual_near, truth),
        "differing": {
            "fps_usual": int((usual != picked).sum()),
            "fps_torch_backend": int((reference != picked[:2]).sum()),
            "knn_torch_backend": int((reference_near != near[:2]).sum()),
            "knn_groups_float64": wrong_groups(near, truth),
        },
    }


def measure_gpu(name: str, repeats: int) -> dict[str, Any]:
    """Measure sampling on CUDA against the torch loop; report the bandwidth it amounts to."""
    batch_size, num_points, num_samples = CASES[name]
    xyz = make_clouds(batch_size, num_points, "cuda")
    farthest_point_sample(xyz, 2)
    times: list[Times] = []
    for _ in range(repeats):
        now: Times = {}
        now["usual_fps"], usual = clock(lambda: usual_fps(xyz, num_samples))
        now["fps"], picked = clock(lambda: farthest_point_sample(xyz, num_samples), OUR_RUNS)
        times.append(now)
    touched = batch_size * num_points * num_samples * BYTES_PER_POINT
    seconds = typical(times)
    return {
        "case": name,
        "device": torch.cuda.get_device_name(),
        "backend": resolve_backend("auto", xyz.device),
        **speedups("fps", times, ["fps"]),
        "seconds": seconds,
        "gigabytes_per_second": round(touched / seconds["fps"]["wall"] / 1e9, 1),
        "differing": {"fps_usual": int((usual != picked).sum())},
    }


def measure_memory() -> dict[str, Any]:
    """Measure how far a search of 4 x 20,000 x 20,000 raises the process' peak memory."""
    xyz = make_clouds(4, 20_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    knn(xyz, xyz, NEIGHBORS)
    extra = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"case": "knn_memory_4x20000", "peak_extra_mb": extra // 1024, "full_matrix_mb": 6104}


def warm_up() -> float:
    """Load or compile the kernels; return the seconds that takes, which no figure includes."""
    start = time.perf_counter()
    xyz = make_clouds(2, 300)
    knn(gather_points(xyz, farthest_point_sample(xyz, 9)), xyz, 9)
    return round(time.perf_counter() - start, 2)


def headline(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return the smaller of the wall and processor speed-ups with one thread."""
    one = {row["case"]: row for row in rows if row.get("threads") == 1}
    figures = {}
    for name in CASES:
        if name in one:
            kinds = [one[name][f"fps_speedup_{kind}"] for kind in ("wall", "cpu")]
            figures[f"{name}_speedup"] = min(kinds)
    if "fps_8192_512" in one:
        kinds = [one["fps_8192_512"][f"fps_knn_speedup_{kind}"] for kind in ("wall", "cpu")]
        figures["fps_knn_speedup"] = min(kinds)
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all cases and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=3)
    options = parse_options(parser, "point_ops", arguments, threads=[1], repeats=1)
    record = Record("point_ops", options, warm_up_seconds=warm_up())
    record.add(measure_memory())
    cases = [(name, threads) for threads in options.threads for name in CASES]
    for name, threads in tqdm(cases, desc="cases"):
        record.add(measure_case(name, threads, options.repeats))
    if torch.cuda.is_available():
        for name in CASES:
            record.add(measure_gpu(name, options.repeats))
    equality = {
        f"{row['case']}, {row.get('threads', 'cuda')} threads: {check}": count
        for row in record.rows
        for check, count in row.get("differing", {}).items()
    }
    record.finish(headline(record.rows), equality)
    if any(equality.values()):
        raise SystemExit(f"results differ: {equality}")


if __name__ == "__main__":
    main()
