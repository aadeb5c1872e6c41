"""The two-process launch, many times: no abort, no process and no shared memory left behind.

    python -m benchmarks.launch_loop                      # 20 launches, about ten minutes
    python -m benchmarks.launch_loop --quick              # 2 launches

Each launch trains stage 1 on 32 bricks for two steps under torch.distributed.run (gloo, a worker
process per rank for loading), writes its checkpoint and ends. salesforce-lavis' layout aborted now
and then at exit ("terminate called without an active exception") after all work was done.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import trange

from benchmarks.record import Record, parse_options

ROOT = Path(__file__).resolve().parents[1]
RECIPE = "lavis/projects/bricks/train/demo_stage1.yaml"


def launch(folder: Path, number: int) -> dict[str, Any]:
    """Run one launch and look at what it left behind."""
    shared_before = set(os.listdir("/dev/shm"))
    mark = f"launch-loop-{os.getpid()}-{number}"
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"),
        *("train.py", "--cfg-path", RECIPE, "--options"),
        *(f"run.output_dir={folder}", f"run.job_id={mark}", "run.max_steps=2", "run.num_workers=1"),
        *("run.batch_size_train=8", "datasets.bricks_caption.build_info.limit.train=32"),
    ]
    start = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    return {
        "exit_code": done.returncode,
        "seconds": round(time.perf_counter() - start, 1),
        "aborted": "terminate called" in done.stderr or "Aborted" in done.stderr,
        "warned_of_leaks": "leaked" in done.stderr or "destroy_process_group" in done.stderr,
        "checkpoint": (folder / mark / "checkpoint_last.pth").is_file(),
        "processes_left": processes_with(mark),
        "shared_memory_left": len(set(os.listdir("/dev/shm")) - shared_before),
        "tail": done.stderr[-500:] if done.returncode else "",
    }


def processes_with(mark: str) -> int:
    """Count the processes whose command line names a launch."""
    count = 0
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            count += mark.encode() in path.read_bytes()
        except OSError:  # ended between listing and reading
            continue
    return count


def is_clean(row: dict[str, Any]) -> bool:
    """Return whether a launch did its work and left nothing."""
    left = row["processes_left"] or row["shared_memory_left"]
    bad = row["exit_code"] or row["aborted"] or row["warned_of_leaks"] or left
    return bool(row["checkpoint"] and not bad)


def main(arguments: Sequence[str] | None = None) -> int:
    """Launch again and again; 1 when one of them was not clean."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=20)
    options = parse_options(parser, "launch_loop", arguments, times=2)
    record = Record("launch_loop", options)
    with tempfile.TemporaryDirectory(prefix="launch-loop-") as folder:
        for number in trange(options.times):
            record.add(launch(Path(folder), number))
    clean = sum(map(is_clean, record.rows))
    record.finish({"launches": len(record.rows), "clean": clean}, {})
    return int(clean != len(record.rows))


if __name__ == "__main__":
    sys.exit(main())
