"""Time and memory of inference of each system: embedding and captioning bricks, labelling rooms.

    python -m benchmarks.system_inference                        # all systems; reads the bricks
    python -m benchmarks.system_inference --quick                # 16 objects
    python -m benchmarks.system_inference --systems demo point-bind
    python -m benchmarks.system_inference --runs demo=/data/runs/demo --device cuda

A system is the trained run of its recipe where that is found (`run.output_dir/run.job_id`, or
`--runs`). Else it is built from the recipe with its initial weights: sizes, and so time and memory,
are those of the trained one, because every caption has the same number of tokens (`--tokens`).
`source` of a row says which it was. A pool of retrieved texts is then of POOL training objects.

Each (system, ability) is measured in a process of its own: the clouds in memory, the processor of
clouds included, after one batch to warm up. `per_second` counts objects in a second of CPU time of
one thread (on a GPU: of wall time), which other jobs on the machine change little. `peak_gb` is the
highest resident memory of the process, libraries included (on a GPU: of its allocator).
The leaderboard reads the result file.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lavis  # noqa: F401 (sets the policy of threads before torch is loaded)

# isort: split
import torch
from omegaconf import OmegaConf

from benchmarks.record import Record, parse_options
from benchmarks.scene import room
from lavis.common.checkpoint import manifest_step, save_checkpoint
from lavis.common.utils import get_abs_path
from lavis.config.run_config import RunConfig
from lavis.config.sources import as_plain
from lavis.models.hub.folder import shared_state
from lavis.models.hub.trained_run import trained_section
from lavis.stock import registered
from pointlang.app.collection import open_collection
from pointlang.runs import load, run_of
from pointlang.system import BATCH_SIZE, System

ROOT = Path(__file__).resolve().parents[1]
PROJECTS = "lavis/projects"
POOL = 512
ROOM_POINTS = 40_000  # of the rooms' recipes in evaluation
_CONTRASTIVE = "point_llm_contrastive/train/stage1_generative"
# name of the leaderboard -> {ability: recipe}
SYSTEMS: dict[str, dict[str, str]] = {
    "demo": {"embed": "bricks/train/demo_stage1", "caption": "bricks/train/demo_stage2"},
    "voxel": {"caption": "bricks/train/voxel_captioning_2"},
    "point-llm-contrastive": {"embed": _CONTRASTIVE, "caption": _CONTRASTIVE},
    "mixcon3d": {"embed": "mixcon3d/train/bricks"},
    "point-bind": {"embed": "point_bind/train/bricks"},
    "point-llm": dict.fromkeys(("embed", "caption"), "point_llm/train/bricks_pretrain"),
    "text4point": {"segment": "text4point/train/rooms_segmentation"},
}


@dataclass(frozen=True)
class Job:
    """What one process measures.

    Attributes:
        folder: of the run.
        ability: embed, caption or segment.
        objects: how many; rooms: an eighth of them.
        tokens: of each caption.
        seconds: of CPU time; the call is repeated until they are spent, the quickest counts.
        device: auto, cpu, cuda …
    """

    folder: str
    ability: str
    objects: int
    tokens: int
    seconds: float
    device: str


def recipe_run(recipe: str, folder: Path) -> Path:
    """Write a run folder of a recipe whose model has its initial weights; returns the folder.

    Weight files that the recipe starts from are read where they are there.
    """
    config = RunConfig.from_file(ROOT / PROJECTS / f"{recipe}.yaml")
    checkpoint = folder / "checkpoint_last.pth"
    section = trained_section(as_plain(config.model_cfg), checkpoint)[0] | {"finetuned": None}
    torch.manual_seed(0)
    model = registered("model", config.model_cfg.arch).from_config(OmegaConf.create(section))
    if getattr(model, "retrieval", None) is not None:
        model.eval().read_training_objects(_training_objects(recipe))
    folder.mkdir(parents=True)
    space = getattr(model, "space", None)
    save_checkpoint({"model": shared_state(model), "space": space}, checkpoint)
    config.save(folder / "config.yaml")
    return folder


def _training_objects(recipe: str) -> list[Any]:
    """Return the training split of a recipe's captions, POOL objects."""
    from lavis.tasks import setup_task

    limit = [f"datasets.bricks_caption.build_info.limit.train={POOL}"]
    config = RunConfig.from_file(ROOT / PROJECTS / f"{recipe}.yaml", limit)
    return [splits["train"] for splits in setup_task(config).build_datasets(config).values()]


def trained_folder(recipe: str) -> Path:
    """Return the folder that training a recipe writes."""
    run = RunConfig.from_file(ROOT / PROJECTS / f"{recipe}.yaml").run_cfg
    return Path(get_abs_path(run.output_dir)) / str(run.job_id)


def measure(job: Mapping[str, Any]) -> dict[str, Any]:
    """Time a `Job` in this process, on one thread."""
    torch.set_num_threads(1)
    given = Job(**job)
    system = load(given.folder, given.device)
    items, work = _work(system, given)
    work(items[:BATCH_SIZE])  # builds the model; warm
    on_gpu = system.device.type == "cuda"
    taken = [_timed(work, items)]
    while sum(cpu for _, cpu in taken) < given.seconds:
        taken.append(_timed(work, items))
    seconds, cpu = min(taken) if on_gpu else min(taken, key=lambda pair: pair[1])
    peak = torch.cuda.max_memory_allocated() if on_gpu else _resident()
    model, _, decoding = system.members[0].parts
    return {
        "objects": len(items),
        "repeats": len(taken),
        "seconds": round(seconds, 3),
        "cpu_seconds": round(cpu, 3),
        "per_second": round(len(items) / (seconds if on_gpu else cpu), 3),
        "peak_gb": round(peak / 1e9, 2),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "device": torch.cuda.get_device_name() if on_gpu else "cpu",
        "num_beams": decoding.get("num_beams", 5) if given.ability == "caption" else None,
    }


def _work(system: System, job: Job) -> tuple[list[Any], Callable[[list[Any]], Any]]:
    """Return what is read, and the call that is timed."""
    if job.ability == "segment":
        rooms = [room(ROOM_POINTS, seed)[0].numpy() for seed in range(max(1, job.objects // 8))]
        return rooms, lambda some: [system.segment(one) for one in some]
    objects = [item.object for item in open_collection(most=job.objects)]
    if not objects:
        sys.exit("the bricks are missing: python -m lavis.datasets.download_scripts.prepare_bricks")
    if job.ability == "embed":
        return objects, system.embed
    lengths = {"min_length": job.tokens, "max_length": job.tokens}
    return objects, lambda some: system.caption(some, **lengths)


def _timed(work: Callable[[list[Any]], Any], items: list[Any]) -> tuple[float, float]:
    """Return wall and CPU seconds of a call that returns values of the CPU."""
    start, cpu = time.perf_counter(), time.process_time()
    work(items)
    return time.perf_counter() - start, time.process_time() - cpu


def _resident() -> int:
    """Return the highest resident memory of this process in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def in_child(job: Job) -> dict[str, Any]:
    """Return `measure` of a child process."""
    code = "import json, sys, benchmarks.system_inference as b"
    code += "; print(json.dumps(b.measure(json.loads(sys.argv[1]))))"
    environ = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-c", code, json.dumps(vars(job))]
    done = subprocess.run(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{job} ended with {done.returncode}; see its output above")
    return json.loads(done.stdout.splitlines()[-1])


def find_run(name: str, recipe: str, given: Mapping[str, str], scratch: Path) -> tuple[Path, str]:
    """Return the folder to measure, and its source: "trained" or "recipe"."""
    if name in given:
        return Path(given[name]).resolve(), "trained"
    trained = trained_folder(recipe)
    if run_of(trained) is not None:
        return trained, "trained"
    folder = scratch / recipe.replace("/", "_")
    return (folder if folder.exists() else recipe_run(recipe, folder)), "recipe"


def _pair(text: str) -> tuple[str, str]:
    name, equals, folder = text.partition("=")
    if name not in SYSTEMS or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=FOLDER of {', '.join(SYSTEMS)}")
    return name, folder


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every ability of every system."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--runs", nargs="+", type=_pair, default=[], help="NAME=FOLDER of a run")
    parser.add_argument("--objects", type=int, default=64, help="bricks of dev_test")
    parser.add_argument("--tokens", type=int, default=16, help="of every caption")
    parser.add_argument("--seconds", type=float, default=4.0, help="of CPU time, timed for each")
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda …")
    options = parse_options(parser, "system_inference", arguments, objects=16, seconds=1.0)
    given, headline = dict(options.runs), {}
    record = Record("system_inference", options)
    with tempfile.TemporaryDirectory() as scratch:
        for name in options.systems:
            for ability, recipe in SYSTEMS[name].items():
                folder, source = find_run(name, recipe, given, Path(scratch))
                run = run_of(folder)
                step = None if run is None or source == "recipe" else manifest_step(run.checkpoint)
                what = (ability, options.objects, options.tokens, options.seconds)
                about = {"system": name, "ability": ability, "recipe": recipe}
                about |= {"source": source, "trained_steps": step}
                row = record.add(about | in_child(Job(str(folder), *what, options.device)))
                headline[f"{name}_{ability}_per_second"] = row["per_second"]
    record.finish(headline, equality={})


if __name__ == "__main__":
    main()
