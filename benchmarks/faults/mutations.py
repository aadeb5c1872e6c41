"""Figure 12: mutated configurations are refused before anything is built."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.faults.processes import Figure
from lavis.common.errors import PointLanguageError
from lavis.config.file_check import check_files
from lavis.config.run_config import RunConfig
from lavis.config.run_schema import RUN_SCHEMA

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted((ROOT / "lavis/projects/bricks").glob("*/*.yaml"))
# Sections whose keys the user invents, or that name files which other recipes make.
FREE = ("limit", "text_weights", "lr_multipliers", "train_dataset_repeats", "lora", "loss_weights")


def read(recipe: Path, options: list[str]) -> None:
    """Do what train.py does before it builds anything."""
    config = RunConfig.from_file(recipe, options)
    made_by_recipes = ["model.pretrained", "model.finetuned", "run.resume_ckpt_path"]
    made_by_recipes.append("model.point_encoder_weights")
    plain = config.to_dict()
    for key in made_by_recipes:  # absent until that recipe ran, unless the mutation names them
        section, name = key.split(".")
        if not any(option.startswith(key) for option in options):
            plain[section].pop(name, None)
    check_files(plain, str(recipe))


def _leaves(section: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) of a section, without free mappings."""
    for key, value in section.items():
        if key in FREE:
            continue
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}.{key}")
        else:
            yield f"{prefix}.{key}", value


def _misspelt(draw: random.Random, leaves: dict[str, Any]) -> tuple[str, list[str]]:
    key = draw.choice([k for k in leaves if len(k.split(".")[-1]) > 4])
    head, _, name = key.rpartition(".")
    place = draw.randrange(1, len(name) - 2)
    while name[place] == name[place + 1]:
        place = draw.randrange(1, len(name) - 2)
    wrong = name[:place] + name[place + 1] + name[place] + name[place + 2 :]
    value = 1 if leaves[key] is None else leaves[key]
    text = json.dumps(value) if isinstance(value, str) else value  # a prompt may hold a colon
    return f"{head}.{wrong}={text}", [wrong, name]


def _wrong_type(draw: random.Random, leaves: dict[str, Any]) -> tuple[str, list[str]]:
    key = draw.choice([k for k, v in leaves.items() if isinstance(v, (bool, int, float))])
    return f"{key}=what", [key, "'what'", "expected"]


def _out_of_range(draw: random.Random, leaves: dict[str, Any]) -> tuple[str, list[str]]:
    bounded = {f"run.{f.name}": f.low for f in RUN_SCHEMA if f.low > -1e300}
    named = [
        k for k in leaves if k.split(".")[-1] in ("depth", "num_heads", "num_group", "num_points")
    ]
    if named and draw.random() < 0.3:
        key = draw.choice(named)
        return f"{key}=-3", [key.split(".")[-1], "-3", "expected"]
    key = draw.choice(sorted(bounded))
    value = int(bounded[key]) - 1
    return f"{key}={value}", [key, str(value), "expected"]


def _unknown_name(draw: random.Random, leaves: dict[str, Any]) -> tuple[str, list[str]]:
    names = ["run.task", "run.runner", "run.lr_sched", "model.arch", "model.model_type"]
    names += [
        k for k in leaves if k.endswith("processor.train.name") or k == "model.point_encoder.name"
    ]
    key = draw.choice([n for n in names if isinstance(leaves.get(n), str)])
    name = leaves[key]
    return f"{key}={name[:-2]}{name[-1]}{name[-2]}x", [key.split(".")[-1], name]


def _missing_file(draw: random.Random, leaves: dict[str, Any]) -> tuple[str, list[str]]:
    key = draw.choice(["model.pretrained", "model.finetuned", "run.resume_ckpt_path"])
    return f"{key}=output/nowhere{draw.randrange(99)}.pth", [key, "nowhere"]


KINDS: dict[str, Callable[[random.Random, dict[str, Any]], tuple[str, list[str]]]] = {
    "misspelt key": _misspelt,
    "wrong type": _wrong_type,
    "out of range": _out_of_range,
    "unknown name": _unknown_name,
    "missing file": _missing_file,
}


def fig12(folder: Path, quick: bool) -> Figure:
    """200 mutations of the bricks recipes."""
    import lavis  # noqa: F401 - registers everything

    draw, count = random.Random(12), 20 if quick else 200
    recipes = draw.sample(RECIPES, 3) if quick else RECIPES
    leaves = {}
    for recipe in recipes:  # negative control: unchanged recipes are accepted
        read(recipe, [])
        config = RunConfig.from_file(recipe).to_dict()
        sections = ("run", "model", "datasets")
        leaves[recipe] = {k: v for s in sections for k, v in _leaves(config[s], s)}
    accepted, unclear, slowest = [], [], 0.0
    for number in range(count):
        recipe, kind = draw.choice(recipes), list(KINDS)[number % len(KINDS)]
        option, parts = KINDS[kind](draw, leaves[recipe])
        started = time.perf_counter()
        try:
            read(recipe, [option])
            accepted.append(f"{kind}: {option} ({recipe.name})")
        except PointLanguageError as error:
            lines = str(error)
            if not all(part in lines for part in parts):
                unclear.append(f"{kind}: {option}: {lines}")
        slowest = max(slowest, time.perf_counter() - started)
    measured = {
        "refused": count - len(accepted),
        "of": count,
        "with_file_key_got_expected_nearest": count - len(accepted) - len(unclear),
        "accepted": accepted,
        "unclear": unclear[:10],
        "slowest_seconds": round(slowest, 2),
    }
    return Figure(not accepted and not unclear and slowest < 5, measured)
