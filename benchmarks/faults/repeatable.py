"""Figures 13 and 14: the same numbers again, and every sample scored once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.faults.processes import Figure, read_json, run_ranks, write_json
from benchmarks.faults.tiny_run import TinyData, tiny_runner
from lavis.common.dist_utils import get_rank
from lavis.runners.loss_curve import read_rows

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).with_name("golden_losses.json")


def losses(folder: Path, job: str, workers: int = 0, order_seed: int = 42) -> list[float]:
    """Return the losses of 100 steps with dropout and augmentation."""
    options: dict[str, Any] = {"num_workers": workers, "seed": order_seed, "max_steps": 100}
    tiny_runner(folder, job, dropout=0.5, max_epoch=50, **options).train()
    return [row["loss"] for row in read_rows(folder / job / "log.jsonl") if row["kind"] == "train"]


def _with_hash_seed(folder: Path, hash_seed: int) -> list[float]:
    """Return the losses of a fresh interpreter with another PYTHONHASHSEED."""
    code = (
        "import sys, json, torch; torch.set_num_threads(1); from pathlib import Path;"
        "from benchmarks.faults.repeatable import losses;"
        "print('LOSSES', json.dumps(losses(Path(sys.argv[1]), sys.argv[2])))"
    )
    environment = os.environ | {"PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), f"hash{hash_seed}"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.split("LOSSES")[1])


def fig13(folder: Path, quick: bool) -> Figure:
    """Same seed: bit-identical; another seed: not; both machines of the project: golden file."""
    first = losses(folder, "first")
    again = {"again": losses(folder, "again")}
    again |= {f"{n} workers": losses(folder, f"workers{n}", n) for n in ((2,) if quick else (2, 8))}
    if not quick:
        again |= {f"hash seed {n}": _with_hash_seed(folder, n) for n in (0, 1)}
    other = losses(folder, "other", order_seed=1)
    golden = read_json(GOLDEN)
    apart = max(abs(a - b) for a, b in zip(first, golden, strict=True))
    results = {name: values == first for name, values in again.items()}
    results |= {"another seed differs": other != first, "steps": len(first) == 100}
    # Sums of products may differ in the last bit between processors, so 1e-6 from the file.
    measured = results | {"max_difference_from_golden_file": apart}
    return Figure(all(results.values()) and apart < 1e-6, measured)


def _score_all(folder: Path, sizes: range, ranks: int) -> None:
    """One rank: score every size at every batch size."""
    runner = tiny_runner(folder, f"ranks{ranks}", evaluate=True)
    found = {}
    for size in sizes:
        runner.parts.datasets["data"]["test"] = TinyData(size, 60, 0.0)
        for batch in (1, 2, 3, 5):
            runner.parts.run_cfg.batch_size_eval = batch
            metrics = runner.evaluate(skip_reload=True)["test"]
            assert metrics is not None
            ids = runner.parts.task.scored_ids
            found[f"{size}/{batch}"] = [metrics["n_scored"], len(set(ids)), metrics["agg_metrics"]]
    write_json(folder / f"ranks{ranks}-rank{get_rank()}.json", found)


def fig14(folder: Path, quick: bool) -> Figure:
    """N in 1..33 x batch 1, 2, 3, 5 x ranks 1, 2, 4, with stale result files present."""
    sizes, worlds = (range(1, 12), (1, 2)) if quick else (range(1, 34), (1, 2, 4))
    for ranks in worlds:
        stale = folder / f"ranks{ranks}" / "result"
        stale.mkdir(parents=True)
        for rank in range(4):
            (stale / f"test_rank{rank}.json").write_text('[{"instance_id": "stale"}]')
        run_ranks(ranks, lambda n=ranks: _score_all(folder, sizes, n), folder / "log.txt")
    alone = read_json(folder / "ranks1-rank0.json")
    cases = doubled = missing = 0
    apart = 0.0
    for ranks in worlds:
        for rank in range(ranks):
            for case, (scored, distinct, metric) in read_json(
                folder / f"ranks{ranks}-rank{rank}.json"
            ).items():
                cases += 1
                missing += scored != int(case.split("/")[0])
                doubled += scored != distinct
                apart = max(apart, abs(metric - alone[case][2]))
    measured = {"cases": cases, "n_scored_wrong": missing, "with_duplicates": doubled}
    return Figure(not (missing or doubled) and apart < 1e-9, measured | {"max_difference": apart})


if __name__ == "__main__":  # write the golden file: python -m benchmarks.faults.repeatable
    import tempfile

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        write_json(GOLDEN, losses(Path(temporary), "golden"))
