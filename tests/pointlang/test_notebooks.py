"""The notebooks run from top to bottom with small settings, and are committed without outputs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

NAMES = ("compare_systems", "predict_own_files", "train_on_own_csv")
SECONDS = 900  # a cell, on a machine that does other things, too
TINY = ("trans_dim=24", "depth=1", "num_heads=2", "group_size=8", "num_group=16")


@pytest.fixture
def run(repo_root: Path, tmp_path: Path) -> Any:
    """Return a function that runs a notebook with other parameters and returns what it printed."""
    nbformat = pytest.importorskip("nbformat", reason="requirements-notebooks.txt")
    client = pytest.importorskip("nbclient", reason="requirements-notebooks.txt")
    pytest.importorskip("ipykernel", reason="requirements-notebooks.txt")

    def execute(name: str, **parameters: Any) -> str:
        notebook = nbformat.read(repo_root / "notebooks" / f"{name}.ipynb", as_version=4)
        tags = [cell.metadata.get("tags", []) for cell in notebook.cells]
        place = tags.index(["parameters"]) + 1
        lines = [f"{key} = {value!r}" for key, value in parameters.items()]
        notebook.cells.insert(place, nbformat.v4.new_code_cell("\n".join(lines)))
        folder = {"metadata": {"path": str(repo_root / "notebooks")}}
        client.NotebookClient(notebook, timeout=SECONDS, resources=folder).execute(
            env=os.environ | {"PYTHONPATH": str(repo_root), "OMP_NUM_THREADS": "1"}
        )
        outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
        return "".join(out.get("text", "") or str(out.get("data", {})) for out in outputs)

    return execute


@pytest.fixture
def cells(repo_root: Path) -> Any:
    """Return a function name -> code cells."""

    def read(name: str) -> list[dict[str, Any]]:
        text = (repo_root / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8")
        return [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]

    return read


def test_these_are_all_notebooks(repo_root: Path) -> None:
    assert sorted(path.stem for path in (repo_root / "notebooks").glob("*.ipynb")) == list(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_committed_without_outputs(name: str, cells: Any) -> None:
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells(name))
    assert [cell["metadata"].get("tags") for cell in cells(name)].count(["parameters"]) == 1


@pytest.mark.slow
def test_own_files_are_predicted(run: Any, tiny_runs: Path, files: Path, tmp_path: Path) -> None:
    given = [str(files / name) for name in ("red.npy", "grey.npy")]
    out = tmp_path / "predictions.jsonl"
    printed = run("predict_own_files", MODEL=str(tiny_runs), FILES=given, OUT=str(out))
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [row["file"] for row in rows] == given
    for row in rows:
        assert row["caption"]
        assert row["answer"]
        assert sum(row["probabilities"].values()) == pytest.approx(1)
    assert "grey.npy; (50, 6)" in printed
    assert "no colour in the file" in printed
    assert "red.npy -> red.npy 1.000" in printed
    assert printed.count("image/png") == 1


@pytest.mark.slow
def test_a_system_is_trained_on_a_table(run: Any, repo_root: Path, tmp_path: Path) -> None:
    bert = repo_root / "tests/golden/models/bert"
    tiny = [f"model.point_encoder.{option}" for option in TINY]
    tiny += ["model.point_encoder.encoder_dims=16", "model.point_encoder.stem_dims=[8,16,16]"]
    tiny += ["model.point_encoder_weights=null", "model.freeze_point_encoder=false"]
    tiny += ["model.num_query_token=4"]
    tiny += [f"model.qformer_bert={bert}", "run.batch_size_train=16", "run.num_threads=1"]
    out = tmp_path / "out"
    printed = run("train_on_own_csv", SHAPES=60, OUT=str(out), STEPS=3, OPTIONS=tiny)
    lines = (out / "stage1" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["kind"] for line in lines].count("train") == 3
    for job in ("retrieval", "classification"):
        (metrics,) = (out / job / "result").glob("*_metrics.json")
        assert json.loads(metrics.read_text(encoding="utf-8"))["baselines"]
    assert (out / "report.html").is_file()
    assert "60 objects" in printed
    assert printed.count("image/png") == 2  # the contact sheet and the losses


@pytest.mark.slow
def test_systems_are_compared(run: Any, tiny_runs: Path) -> None:
    systems = [str(tiny_runs / name) for name in ("stage1", "stage2")]
    printed = run("compare_systems", SYSTEMS=systems, SHAPES=12)
    accuracies = re.findall(r"stage[12]: (\d\.\d{3}) \[(\d\.\d{3}), (\d\.\d{3})\]", printed)
    assert len(accuracies) == 2
    for score, low, high in np.array(accuracies, float):
        assert low <= score <= high
    difference = float(np.subtract(*(float(row[0]) for row in accuracies)))
    found = re.search(r"against .+: (above|level|below), ([+-]\d\.\d{3})", printed)
    assert found is not None
    assert float(found[2]) == pytest.approx(difference, abs=2e-3)
    assert "chance: 0.167" in printed


def test_a_failing_command_ends_the_notebook(repo_root: Path) -> None:
    code = "import helpers; helpers.command('python -c', 'print(6 * 7); raise SystemExit(3)')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=repo_root / "notebooks",
        env=os.environ | {"PYTHONPATH": str(repo_root), "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert done.stdout == "42\n"
    assert "CalledProcessError" in done.stderr
