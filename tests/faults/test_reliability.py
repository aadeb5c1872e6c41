"""A fast subset of every reliability figure (all of it: python benchmarks/reliability.py)."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from benchmarks.faults import FIGURES

SHORT = sorted(FIGURES)


@pytest.fixture(scope="module")
def results(tmp_path_factory, repo_root):
    """Run the subset in one process, which forks the ranks."""
    out = tmp_path_factory.mktemp("reliability") / "quick.json"
    command = [sys.executable, "benchmarks/reliability.py", "--quick", "--out", str(out)]
    done = subprocess.run(command, cwd=repo_root, capture_output=True, text=True, timeout=600)
    assert out.is_file(), done.stderr[-3000:]
    return json.loads(out.read_text())["headline"], done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("figure", SHORT)
def test_figure(results, figure):
    headline, errors = results
    entry = headline[f"fig{figure:02d}"]
    assert entry["passed"], f"{entry['measured']}\n{errors[-3000:]}"
