"""The command under torch.distributed.run, with a rank that is killed midway."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil  # accelerate needs it
import pytest

pytestmark = pytest.mark.slow
SHARD_SIZE = 2


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of eighty clouds and a file that is no cloud."""
    folder = tmp_path_factory.mktemp("inputs")
    for number in range(80):
        np.save(folder / f"{number:02d}.npy", np.random.default_rng(number).random((300, 6)))
    (folder / "broken.ply").write_text("no cloud", encoding="utf-8")
    return folder


class Launch:
    """Starts the command on two ranks.

    Args:
        root: of the repository.
        model, inputs, out: of the command.
    """

    def __init__(self, root: Path, model: Path, inputs: Path, out: Path) -> None:
        self.root, self.out = root, out
        self.command = ["-m", "pointlang", "predict", str(inputs), "--model", str(model)]
        self.command += ["--out", str(out), "--shard-size", str(SHARD_SIZE), "--device", "cpu"]

    def __call__(self, *options: str) -> subprocess.Popen[str]:
        ranks = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", *options]
        return subprocess.Popen(
            [sys.executable, *ranks, *self.command],
            cwd=self.root,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def parts(self) -> dict[str, int]:
        """Return the time of writing of each shard."""
        return {path.name: path.stat().st_mtime_ns for path in self.out.glob("part-*")}

    def kill_a_rank(self, launched: subprocess.Popen[str]) -> dict[str, int]:
        """Kill a rank when two shards are there; returns those of that moment."""
        while len(before := self.parts()) < 2:
            assert launched.poll() is None, launched.communicate()[0][-3000:]
            time.sleep(0.01)
        psutil.Process(launched.pid).children()[-1].kill()
        return before

    def counts(self) -> Counter[str]:
        """Count the records of each file."""
        lines = [line for path in self.out.glob("part-*") for line in path.open(encoding="utf-8")]
        return Counter(json.loads(line)["file"] for line in lines)


@pytest.fixture
def launch(repo_root: Path, tiny_runs: Path, inputs: Path, tmp_path: Path) -> Launch:
    return Launch(repo_root, tiny_runs, inputs, tmp_path / "out")


def test_the_same_command_continues_after_a_rank_was_killed(launch: Launch, inputs: Path) -> None:
    launched = launch()
    launch.kill_a_rank(launched)
    launched.communicate(timeout=600)
    assert launched.returncode != 0
    before = launch.parts()
    assert 2 <= len(before) < 41
    again = launch()
    output, _ = again.communicate(timeout=600)
    assert again.returncode == 0, output[-3000:]
    assert launch.counts() == Counter({str(path): 1 for path in inputs.iterdir()})
    after = launch.parts()
    assert {name: after[name] for name in before} == before  # none was computed again


def test_torchrun_restarts_a_killed_rank(launch: Launch, inputs: Path) -> None:
    launched = launch("--max-restarts=1")
    before = launch.kill_a_rank(launched)
    output, _ = launched.communicate(timeout=600)
    assert launched.returncode == 0, output[-3000:]
    assert len(before) < 41
    assert launch.counts() == Counter({str(path): 1 for path in inputs.iterdir()})
