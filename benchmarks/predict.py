"""The command `pointlang predict`: time to the first answer, then captions per minute.

    python -m benchmarks.predict                                 # output/demo, 128 files
    python -m benchmarks.predict --quick --model output/demo     # 48 files, under two minutes

Each row is the command in a process of its own, as a user starts it: wall time and CPU time
(user + system, which a busy machine changes little). The rate is of the files behind the first
batch. Files are made-up clouds of 10,000 points with colour.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lavis  # noqa: F401 (sets the policy of threads before torch is loaded)

# isort: split
import numpy as np

from benchmarks.record import Record, parse_options
from pointlang.system import BATCH_SIZE

POINTS = 10_000


def write_clouds(folder: Path, count: int) -> list[Path]:
    """Write boxes of random proportions and colours as .npy."""
    paths = []
    for number in range(count):
        rng = np.random.default_rng(number)
        xyz = rng.random((POINTS, 3)) * rng.uniform(0.2, 1.0, 3)
        paths.append(folder / f"{number:04d}.npy")
        np.save(paths[-1], np.concatenate([xyz, np.tile(rng.random(3), (POINTS, 1))], axis=1))
    return paths


def timed(arguments: Sequence[str]) -> dict[str, Any]:
    """Run the command; returns seconds to each line, wall and CPU seconds of the process."""
    command = [sys.executable, "-m", "pointlang", "predict", *arguments, "--quiet"]
    before, start = _cpu_seconds(), time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = [time.perf_counter() - start for _ in process.stdout]
    _, errors = process.communicate()
    if process.returncode:
        sys.exit(f"predict failed:\n{errors}")
    wall = time.perf_counter() - start
    return {"lines": lines, "wall": wall, "cpu": _cpu_seconds() - before}


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def per_minute(lines: Sequence[float], wall: float) -> float | None:
    """Return lines per minute behind the first batch; None: there is only one batch."""
    rest = len(lines) - BATCH_SIZE
    return 60 * rest / (wall - lines[BATCH_SIZE - 1]) if rest > 0 else None


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure one question and many captions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="demo", help="see pointlang.load")
    parser.add_argument("--files", type=int, default=128, help="files to caption")
    given = parse_options(parser, "predict", arguments, files=48)
    record = Record("predict", given)
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(path) for path in write_clouds(Path(folder), given.files)]
        model = ["--model", given.model]
        first = timed([paths[0], "What is this?", *model])
        record.add({"case": "first answer", "seconds": first["wall"], "cpu_seconds": first["cpu"]})
        many = timed([*paths, *model])
    rate = per_minute(many["lines"], many["lines"][-1])
    row = {"case": "captions", "files": given.files, "seconds": many["wall"]}
    record.add(row | {"cpu_seconds": many["cpu"], "per_minute": rate})
    headline = {"first_answer_seconds": first["wall"], "captions_per_minute": rate}
    record.finish(headline, equality={})


if __name__ == "__main__":
    main()
