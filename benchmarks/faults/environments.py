"""Figure 24: a user without HOME, an ASCII terminal, a read-only checkout, another folder, -O."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faults.processes import Figure
from lavis.datasets.manifest import write_json

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "lavis/projects/bricks/train/demo_stage1.yaml"
UID = 12345  # of no user of this machine
# Reads everything, as a member of the group would, and writes what is its own.
OTHER_USER = (
    *("setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"),
    *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
)
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
# {condition: (command before python, options of python, environment, working directory)}
CONDITIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...], dict[str, str | None], str]] = {
    "a uid without name and HOME": (OTHER_USER, (), {"HOME": None, "USER": None}, ""),
    "an ASCII terminal": ((), (), {**ASCII}, ""),
    "python -O": ((), ("-O",), {}, ""),
    "another working directory": ((), (), {}, "/"),
    "another time zone": ((), (), {"TZ": "Asia/Kathmandu"}, ""),
    "all of them": (OTHER_USER, ("-O",), {**ASCII, "HOME": None, "TZ": "Asia/Kathmandu"}, "/"),
}


def write_objects(root: Path) -> None:
    """Write twelve coloured clouds in the layout of Objaverse, with captions beyond ASCII."""
    rng = np.random.default_rng(0)
    names = [f"object{number:02d}" for number in range(12)]
    for name in names:
        folder = root / "objaverse" / "objaverse_pc_parallel" / name
        folder.mkdir(parents=True)
        cloud = np.concatenate([rng.uniform(-1, 1, (256, 3)), rng.random((256, 3))], 1)
        np.savez(folder / f"{name}_8192.npz", arr_0=cloud.astype(np.float32))
    captions = {name: f"a café table, número {name} \N{GRINNING FACE}" for name in names}
    write_json(root / "merged_data_new.json", captions)
    (root / "objaverse" / "common_ids.txt").write_text("\n".join(names), encoding="utf-8")


def launch(name: str, folder: Path) -> tuple[int, str]:
    """Train one step under a condition; return exit code and output."""
    before, options, changes, cwd = CONDITIONS[name]
    write_objects(folder / "data")
    (folder / "out").mkdir()
    if before:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, UID, UID)
    env: dict[str, Any] = {**os.environ, "LAVIS_CACHE_ROOT": str(folder / "data"), **changes}
    env["PYTHONDONTWRITEBYTECODE"] = "1"
    cloud = {"name": "point_eval", "num_points": 256, "use_color": True}
    text = ",".join(f"{key}: {value}" for key, value in cloud.items())
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        "model: {arch: point_blip, model_type: bricks, freeze_point_encoder: False}\n"
        "datasets: {objaverse_caption: {build_info: {annotations: "
        "{train: {storage: merged_data_new.json}}},\n"
        f"  point_processor: {{train: {{{text}}}, eval: {{{text}}}}}}}}}\n"
        "run: {task: point_text_pretrain, max_epoch: 1, max_steps: 1, batch_size_train: 4,\n"
        "  num_workers: 0, num_threads: 1, train_splits: [train], trackers: [], log_freq: 1,\n"
        f"  job_id: job, output_dir: {folder / 'out'}}}\n",
        encoding="utf-8",
    )
    command = [*before, sys.executable, *options, str(ROOT / "train.py"), "--cfg-path", str(recipe)]
    done = subprocess.run(
        command,
        env={key: value for key, value in env.items() if value is not None},
        cwd=cwd or ROOT,
        capture_output=True,
        timeout=600,
        check=False,
    )
    return done.returncode, (done.stdout + done.stderr).decode("utf-8", "replace")


def problem(name: str, folder: Path) -> str:
    """Return "" when the run ended well or with one message of ours, else what happened."""
    code, output = launch(name, folder)
    if "Traceback" in output:
        return output[output.index("Traceback") :][-600:]
    if code == 0:
        found = (folder / "out").glob("*/checkpoint_*.pth")
        return "" if any(found) else "no checkpoint"
    return "" if code == 2 and re.search(r"\[ERROR\] \w+Error: ", output) else output[-600:]


def fig24(folder: Path, quick: bool) -> Figure:
    """A step of training works in every environment."""
    possible = os.getuid() == 0 and shutil.which("setpriv")
    names = [name for name, (before, *_) in CONDITIONS.items() if possible or not before]
    left_out = sorted(set(CONDITIONS) - set(names))
    found, trained = {}, 0
    for number, name in enumerate(names[-1:] if quick else names):
        own = folder / f"environment{number}"
        own.mkdir()
        found[name] = problem(name, own)
        trained += any((own / "out").glob("*/checkpoint_*.pth"))
    wrong = {name: text for name, text in found.items() if text}
    return Figure(
        not wrong,
        {"environments": len(found), "trained": trained, "wrong": wrong, "left_out": left_out},
    )
