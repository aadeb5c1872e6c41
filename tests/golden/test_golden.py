"""Training steps and result files stay what they were, to the last bit on the same kind of CPU."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def load_recorder():
    """Import `record.py` by its path: a package named tests lies in site-packages, too."""
    spec = importlib.util.spec_from_file_location("golden_record", HERE / "record.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


recorder = load_recorder()
VALUES = recorder.committed_values()
NAMES = sorted(str(path.relative_to(VALUES)) for path in VALUES.glob("*/*.json"))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, repo_root) -> Path:
    """Values of this checkout, recorded by a process of their own."""
    out = tmp_path_factory.mktemp("golden")
    done = subprocess.run(
        [sys.executable, str(HERE / "record.py"), "--out", str(out)],
        cwd=repo_root,
        env=os.environ | {"PYTHONPATH": str(repo_root), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return out


def read(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("folder", recorder.COMMITTED, ids=lambda folder: folder.name)
def test_every_recipe_and_evaluation_has_committed_values(folder):
    known = {f"steps/{name}.json" for name in recorder.TRAINED}
    known |= {f"results/{name}.json" for name in recorder.EVALUATED}
    assert {str(path.relative_to(folder)) for path in folder.glob("*/*.json")} == known


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_values_stay(recorded, name):
    exact = read(recorded / "machine.json") == read(VALUES / "machine.json")
    # another CPU rounds elsewhere, and a greedy choice or a rank may turn
    tolerance = 3e-2 if name.startswith("steps") else 0.2
    found = recorder.differences(
        read(VALUES / name), read(recorded / name), exact, name, tolerance=tolerance
    )
    changed = list(found)
    assert not changed, f"{len(changed)} values changed: " + "\n".join(changed[:20])


def test_a_changed_bit_is_seen():
    was = {"steps": [{"loss": 1.0}], "text": "a brick"}
    now = {"steps": [{"loss": 1.0 + 2**-52}], "text": "a plate"}
    assert len(list(recorder.differences(was, now, exact=True))) == 2
    assert not list(recorder.differences(was, now, exact=False))
    assert list(recorder.differences(was, {"steps": []}, exact=False))
