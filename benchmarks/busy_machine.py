"""Steps a second beside other work: torch's own wait policy beside ours.

    python -m benchmarks.busy_machine                     # quiet machine, about ten minutes
    python -m benchmarks.busy_machine --quick             # under two minutes
    python -m benchmarks.busy_machine --policies default ours sleep passive

A stage-1 step, a stage-2 step and the writing of captions (the demo's recipes, made-up batches), on
a quiet machine and beside one and two processes that keep a core busy each. libgomp reads its
policy when it is loaded, so each policy runs in a child process; the children of a row take turns,
step by step, and a child that waits for its turn sleeps. Seconds are of the wall clock.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
POLICIES = {
    "default": {},
    "ours": {},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
    "sleep": {"GOMP_SPINCOUNT": "0"},
    "spin10000": {"GOMP_SPINCOUNT": "10000"},
}
RECIPES = {"stage1": "demo_stage1", "stage2": "demo_stage2", "evaluation": "demo_stage2"}
# Ends with its parent, however that ends.
BUSY = "import os; parent = os.getppid()\nwhile os.getppid() == parent: pass"


def make_step(work: str, batch: int) -> Callable[[], Any]:
    """Build the model of a recipe; return the function that does one step of it."""
    import torch

    from lavis.config.run_config import RunConfig
    from lavis.tasks import setup_task

    path = ROOT / "lavis" / "projects" / "bricks" / "train" / f"{RECIPES[work]}.yaml"
    options = ["model.pretrained=null"] if work != "stage1" else []
    cfg = RunConfig(argparse.Namespace(cfg_path=str(path), options=options))
    torch.manual_seed(0)
    model = setup_task(cfg).build_model(cfg)
    text = "a red brick with two rows of four studs"
    samples = {
        "point_cloud": torch.rand(batch, 2048, 6) * 2 - 1,
        "box_size": torch.ones(batch, 3),
        "text_input": [f"{text} and a slope {n}" for n in range(batch)],
        "instance_id": [str(n) for n in range(batch)],
    }

    def train() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bool(cfg.run_cfg.amp)):
            loss = model(samples)["loss"]
        loss.backward()
        model.zero_grad(set_to_none=True)

    if work == "evaluation":
        model.eval()
        return lambda: model.generate(samples, num_beams=1, max_length=12)
    model.train()
    return train


def serve(work: str, batch: int) -> None:
    """Do one step for each line of standard input; answer with its seconds."""
    step = make_step(work, batch)
    step()
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        step()
        print(time.perf_counter() - start, flush=True)


def start_worker(work: str, policy: str, batch: int) -> subprocess.Popen[str]:
    """Start the child that does `work` under a policy, and wait until it has built its model."""
    settings = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME", "OMP_NUM_THREADS")
    environ = {name: value for name, value in os.environ.items() if name not in settings}
    # torch first keeps the environment's policy; lavis first, as train.py does, sets ours.
    first = "lavis" if policy == "ours" else "torch"
    code = f"import {first}; from benchmarks.busy_machine import serve; serve({work!r}, {batch})"
    worker = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=ROOT,
        env=environ | POLICIES[policy],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    answer(worker, until="ready")
    return worker


def answer(worker: subprocess.Popen[str], until: str = "") -> str:
    """Return the next line of a child, or the next that is `until`."""
    assert worker.stdout is not None
    for line in worker.stdout:
        if not until or line.strip() == until:
            return line.strip()
    raise SystemExit(f"the child ended with {worker.wait()}; see its output above")


def timed_step(worker: subprocess.Popen[str]) -> float:
    """Let a child do one step; return its seconds."""
    assert worker.stdin is not None
    worker.stdin.write("\n")
    worker.stdin.flush()
    return float(answer(worker))


def measure(workers: dict[str, subprocess.Popen[str]], busy: int, rounds: int) -> dict[str, Any]:
    """Let the children take turns beside `busy` processes; median seconds and ratios."""
    others = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(busy)]
    try:
        seconds: dict[str, list[float]] = {policy: [] for policy in workers}
        for _ in range(rounds):
            for policy, worker in workers.items():
                seconds[policy].append(timed_step(worker))
    finally:
        for other in others:
            other.kill()
            other.wait()
    medians = {policy: statistics.median(values) for policy, values in seconds.items()}
    return {
        "busy_processes": busy,
        "load": round(os.getloadavg()[0], 2),
        "seconds": seconds,
        "speed_beside_default": {p: medians["default"] / value for p, value in medians.items()},
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every kind of work and write the result."""
    from benchmarks.record import Record, parse_options

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", nargs="+", default=list(RECIPES), choices=list(RECIPES))
    parser.add_argument("--policies", nargs="+", default=["default", "ours"], choices=POLICIES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=16)
    small = {"rounds": 1, "batch": 4, "work": ["stage1"]}
    options = parse_options(parser, "busy_machine", arguments, **small)
    policies = list(dict.fromkeys(["default", "ours", *options.policies]))
    record = Record("busy_machine", options)
    for work in options.work:
        workers = {policy: start_worker(work, policy, options.batch) for policy in policies}
        try:
            for busy in (0, 1, 2):
                record.add({"work": work} | measure(workers, busy, options.rounds))
        finally:
            for worker in workers.values():
                worker.kill()
                worker.wait()
    record.finish(headline(record.rows), {})


def headline(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return the geometric mean over the kinds of work: quiet, and beside two busy processes."""
    ratios = {
        busy: [row["speed_beside_default"]["ours"] for row in rows if row["busy_processes"] == busy]
        for busy in (0, 2)
    }
    return {
        "busy_speedup": statistics.geometric_mean(ratios[2]),
        "quiet_ratio": statistics.geometric_mean(ratios[0]),
    }


if __name__ == "__main__":
    main()
