"""A fast subset of every reliability figure (all of it: python benchmarks/reliability.py)."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

# Those that take seconds beyond what tests/runners and tests/common show already are left to the
# benchmark: 7 (restarts under the launcher) and 15 (endurance).
FIGURES = [2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14]


@pytest.fixture(scope="module")
def results(tmp_path_factory, repo_root):
    """Run the subset in one process, which forks the ranks."""
    out = tmp_path_factory.mktemp("reliability") / "quick.json"
    command = [sys.executable, "benchmarks/reliability.py", "--quick", "--out", str(out)]
    command += ["--figures", *map(str, FIGURES)]
    done = subprocess.run(command, cwd=repo_root, capture_output=True, text=True, timeout=600)
    assert out.is_file(), done.stderr[-3000:]
    return json.loads(out.read_text())["headline"], done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("figure", FIGURES)
def test_figure(results, figure):
    headline, errors = results
    entry = headline[f"fig{figure:02d}"]
    assert entry["passed"], f"{entry['measured']}\n{errors[-3000:]}"
