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
highest resident memory of the process behind the building of the model, libraries included (on a
GPU: of its allocator).
The leaderboard reads the result file.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
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
from lavis.common.checkpoint import manifest_step
from lavis.common.utils import get_abs_path
from lavis.config.run_config import RunConfig
from lavis.config.sources import as_plain
from lavis.models.hub.trained_run import trained_section
from lavis.stock import registered
from lavis.tasks.options import WritingOptions
from pointlang.app.collection import open_collection
from pointlang.runs import eval_processor, load, run_of
from pointlang.system import BATCH_SIZE, Member, Parts, System

ROOT = Path(__file__).resolve().parents[1]
PROJECTS = "lavis/projects"
POOL = 512
ROOM_POINTS = 40_000  # of the rooms' recipes in evaluation
_CONTRASTIVE = "point_llm_contrastive/train/stage1_generative"
# name of the leaderboard -> {ability: recipe}
SYSTEMS: dict[str, dict[str, str]] = {
    "demo": {"embed": "bricks/train/demo_stage1", "caption": "bricks/train/demo_stage2"},
    "voxel": {"caption": "bricks/train/voxel_captioning"},
    "point-llm-contrastive": {"embed": _CONTRASTIVE, "caption": _CONTRASTIVE},
    "mixcon3d": {"embed": "mixcon3d/train/bricks_voxel"},
    "point-bind": {"embed": "point_bind/train/bricks"},
    "point-llm": dict.fromkeys(("embed", "caption"), "point_llm/train/bricks_pretrain"),
    "text4point": {"segment": "text4point/train/rooms_segmentation"},
}


@dataclass(frozen=True)
class Job:
    """What one process measures.

    Attributes:
        recipe: of the system.
        folder: of its trained run; None builds the recipe's model with its initial weights.
        ability: embed, caption or segment.
        objects: how many; rooms: an eighth of them.
        tokens: of each caption.
        seconds: of CPU time; the call is repeated until they are spent, the quickest counts.
        device: auto, cpu, cuda …
    """

    recipe: str
    folder: str | None
    ability: str
    objects: int
    tokens: int
    seconds: float
    device: str


def recipe_system(recipe: str, device: str) -> System:
    """Return the system of a recipe's model with its initial weights.

    Weight files that the recipe starts from are read where they are there.
    """
    config, place = _config(recipe), torch.device(device)
    kind = registered("model", config.model_cfg.arch)
    checkpoint = trained_folder(recipe) / "checkpoint_last.pth"
    section = trained_section(as_plain(config.model_cfg), checkpoint)[0] | {"finetuned": None}
    head = section.get("retrieval_head")
    if head and not Path(get_abs_path(head)).is_file():
        section |= {"retrieval_head": None, "retrieval_lookup": "joint"}  # by the encoder, too

    def build() -> Parts:
        torch.manual_seed(0)
        model = kind.from_config(OmegaConf.create(section)).eval()
        if getattr(model, "retrieval", None) is not None:
            model.read_training_objects(_training_objects(recipe))
        model = model.float() if place.type == "cpu" else model
        decoding = WritingOptions.read(config.run_cfg).decoding()
        return model.to(place), eval_processor(as_plain(config.datasets_cfg)), decoding

    return System(recipe, [Member(recipe, kind, build)], place)


def _config(recipe: str, options: Sequence[str] = ()) -> RunConfig:
    return RunConfig.from_file(ROOT / PROJECTS / f"{recipe}.yaml", options)


def _training_objects(recipe: str) -> list[Any]:
    """Return the training split of a recipe's captions, POOL objects."""
    from lavis.tasks import setup_task

    limit = [f"datasets.bricks_caption.build_info.limit.train={POOL}"]
    config = _config(recipe, limit)
    return [splits["train"] for splits in setup_task(config).build_datasets(config).values()]


def trained_folder(recipe: str) -> Path:
    """Return the folder that training a recipe writes."""
    run = _config(recipe).run_cfg
    return Path(get_abs_path(run.output_dir)) / str(run.job_id)


def measure(job: Mapping[str, Any]) -> dict[str, Any]:
    """Time a `Job` in this process, on one thread."""
    torch.set_num_threads(1)
    given = Job(**job)
    source = given.folder
    system = load(source, given.device) if source else recipe_system(given.recipe, given.device)
    items, work = _work(system, given)
    on_gpu = system.device.type == "cuda"
    work(items[:1])  # builds the model
    _forget_peak(on_gpu)
    work(items[:BATCH_SIZE])  # warm
    taken = [_timed(work, items)]
    while sum(cpu for _, cpu in taken) < given.seconds:
        taken.append(_timed(work, items))
    seconds, cpu = min(taken) if on_gpu else min(taken, key=lambda pair: pair[1])
    peak = torch.cuda.max_memory_allocated() if on_gpu else _peak()
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


def _forget_peak(on_gpu: bool) -> None:
    """Leave out what building took: a checkpoint is larger than what inference needs."""
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_bytes(b"5")  # VmHWM = VmRSS


def _peak() -> int:
    """Return the highest resident memory of this process since `_forget_peak`, in bytes."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


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


def find_run(name: str, recipe: str, given: Mapping[str, str]) -> Path | None:
    """Return the folder of a system's trained run, None where there is none.

    Args:
        name: of the system.
        recipe: of the run.
        given: {system: folder of its run, or of its runs by their job_id}.
    """
    trained = trained_folder(recipe)
    folder = Path(given[name]).resolve() if name in given else trained
    places = [folder / trained.name, folder] if name in given else [folder]
    found = next((place for place in places if run_of(place) is not None), None)
    if found is None and name in given:
        sys.exit(f"no trained run in {folder}, nor in its folder {trained.name}")
    return found


def _pair(text: str) -> tuple[str, str]:
    name, equals, folder = text.partition("=")
    if name not in SYSTEMS or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=FOLDER of {', '.join(SYSTEMS)}")
    return name, folder


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every ability of every system."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    every = sorted({ability for parts in SYSTEMS.values() for ability in parts})
    parser.add_argument("--abilities", nargs="+", choices=every, default=every)
    parser.add_argument("--runs", nargs="+", type=_pair, default=[], help="NAME=FOLDER of a run")
    parser.add_argument("--objects", type=int, default=64, help="bricks of dev_test")
    parser.add_argument("--tokens", type=int, default=16, help="of every caption")
    parser.add_argument("--seconds", type=float, default=4.0, help="of CPU time, timed for each")
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda …")
    options = parse_options(parser, "system_inference", arguments, objects=16, seconds=1.0)
    given, headline = dict(options.runs), {}
    record = Record("system_inference", options)
    for name in options.systems:
        for ability in (a for a in SYSTEMS[name] if a in options.abilities):
            recipe = SYSTEMS[name][ability]
            folder = find_run(name, recipe, given)
            run = None if folder is None else run_of(folder)
            about = {"system": name, "ability": ability, "recipe": recipe}
            about["source"] = "recipe" if folder is None else "trained"
            about["trained_steps"] = manifest_step(run.checkpoint) if run else None
            what = (ability, options.objects, options.tokens, options.seconds, options.device)
            job = Job(recipe, None if folder is None else str(folder), *what)
            row = record.add(about | in_child(job))
            headline[f"{name}_{ability}_per_second"] = row["per_second"]
    record.finish(headline, equality={})


if __name__ == "__main__":
    main()
