"""The reliability figures: inject each fault, measure, write JSON.

    python benchmarks/reliability.py                    # all, benchmarks/results/reliability.json
    python benchmarks/reliability.py --figures 1 8      # some of them; the others' results are kept
    python benchmarks/reliability.py --quick --out /tmp/quick.json    # what the tests run

Everything runs on the CPU with gloo. Each figure runs in a process of its own, forked from this
one, which has imported torch but never computes.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # forked ranks must not inherit a thread pool

from benchmarks.faults import FIGURES  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "reliability.json"


def measure(number: int, quick: bool) -> dict[str, Any]:
    """Run one figure in a forked process and return its entry."""
    from benchmarks.faults.processes import fork, read_json, wait_all, write_json

    name = f"fig{number:02d}"
    with tempfile.TemporaryDirectory(prefix=name) as temporary:
        folder = Path(temporary)
        (folder / "work").mkdir()

        def run() -> None:
            import torch

            torch.set_num_threads(1)
            module = importlib.import_module(f"benchmarks.faults.{FIGURES[number]}")
            figure = getattr(module, name)(folder / "work", quick)
            write_json(folder / "figure.json", [figure.passed, figure.measured])

        started = time.perf_counter()
        wait_all([fork(run, folder / "log.txt")], 1800)
        result = folder / "figure.json"
        if not result.is_file():
            print((folder / "log.txt").read_text()[-4000:], file=sys.stderr)
            passed, measured = False, {"error": "the figure did not end, see its output"}
        else:
            passed, measured = read_json(result)
            if not passed:
                for log in (folder / "log.txt", folder / "work" / "log.txt"):
                    if log.is_file():
                        print(log.read_text()[-3000:], file=sys.stderr)
    return {
        "passed": bool(passed),
        "measured": measured,
        "command": f"python benchmarks/reliability.py --figures {number}" + " --quick" * quick,
        "subset": quick,
        "seconds": round(time.perf_counter() - started, 1),
        **_stamp(),
    }


def _stamp() -> dict[str, str]:
    """Return the date and the commit of a measurement."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    return {"date": datetime.date.today().isoformat(), "commit": commit}


def machine() -> dict[str, Any]:
    """Describe this machine."""
    names = [n for n in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in n]
    return {
        "cpu": names[0].split(":")[1].strip() if names else platform.processor(),
        "cores": os.cpu_count(),
        "threads": 1,
        "ram": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "gpu": None,
        "shared": True,  # other work ran on it: counts hold, durations do not
    }


def write(path: Path, headline: dict[str, Any]) -> None:
    """Write the result file, keeping the figures that were not run, with their date and commit."""
    old = json.loads(path.read_text()) if path.is_file() else {"headline": {}}
    kept = {
        name: {"date": old["date"], "commit": old["commit"], **entry}
        for name, entry in old["headline"].items()
    }
    content = {
        "name": "reliability",
        **_stamp(),
        "machine": machine(),
        "headline": dict(sorted({**kept, **headline}.items())),
        "rows": [],
        "equality": {},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def main() -> int:
    """Run the figures that the command line names; 1 when one of them fails."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--figures", type=int, nargs="+", default=sorted(FIGURES), metavar="N")
    parser.add_argument("--quick", action="store_true", help="a subset of each, seconds")
    parser.add_argument("--out", type=Path, default=RESULTS, help="result JSON")
    args = parser.parse_args()
    # Once, for all forks; DDP and AdamW would import _dynamo in each of them.

    import lavis.runners.runner  # noqa: F401

    headline = {}
    for number in args.figures:
        entry = measure(number, args.quick)
        headline[f"fig{number:02d}"] = entry
        state = "passed" if entry["passed"] else "FAILED"
        print(
            f"figure {number:2d}: {state} in {entry['seconds']} s  {entry['measured']}", flush=True
        )
        write(args.out, headline)
    return int(not all(entry["passed"] for entry in headline.values()))


if __name__ == "__main__":
    sys.exit(main())
