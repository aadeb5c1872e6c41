"""Records of several ranks are gathered by id exactly once, for any size and batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

WORKER = Path(__file__).with_name("gather_worker.py")
ROOT = Path(__file__).resolve().parents[2]


def launch(folder: Path, processes: int) -> list[dict[str, float]]:
    """Run the worker; what each rank found."""
    command = [sys.executable, str(WORKER), str(folder)]
    if processes > 1:
        command[1:1] = [
            *("-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}")
        ]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads((folder / f"rank{r}.json").read_text()) for r in range(processes)]


@pytest.mark.slow
def test_three_ranks_score_every_item_once_beside_stale_files(tmp_path):
    for rank in range(3):  # what a run with shared files would have left behind
        (tmp_path / f"n5_b2_rank{rank}.json").write_text('[{"instance_id": "stale"}]')
    (tmp_path / "n5_b2.json").write_text("[]")
    found = launch(tmp_path, 3)
    expected = {
        f"{n}/{b}": sum(k * k for k in range(n)) / n
        for n in (1, 2, 3, 4, 5, 8, 13, 33)
        for b in (1, 2, 3, 5)
    }
    for report in found:  # more ranks than items included
        assert report == pytest.approx(expected)
    written = json.loads((tmp_path / "n5_b2.json").read_text())
    assert sorted(entry["instance_id"] for entry in written) == [f"i{k}" for k in range(5)]
    record = json.loads((tmp_path / "n33_b5_metrics.json").read_text())
    assert record["n_expected"] == record["n_scored"] == 33
