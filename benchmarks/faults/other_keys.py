"""Figure 19: every key of the schema changed at resume is applied, refused or reported."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.faults.processes import Figure
from benchmarks.faults.tiny_run import tiny_runner
from lavis.common.errors import PointLanguageError
from lavis.config.run_schema import LAUNCH_KEYS, RUN_SCHEMA, Field
from lavis.runners.loss_curve import read_rows
from lavis.runners.resume_keys import APPLIED, LAUNCH, RUN_KEYS
from lavis.runners.runner import PointRunner

BEFORE: dict[str, Any] = {"max_steps": 3, "save_freq": 1, "optimizer": "adamw", "max_epoch": 2}
# Values that the kind of a key does not give; keys that choose this very launch are not changed.
OTHER: dict[str, Any] = {
    "lr_sched": "constant_lr",
    "lr_multipliers": {"head": 0.5},
    "trainable": ["head.weight"],
    "layer_decay": 0.5,
    "optimizer": "sgd",
    "max_steps": 5,
    "compile_backend": "eager",
    "best": "val/n_scored",
    "agg_metric": "n_scored",
    "train_dataset_repeats": {"data": 2},
    "min_lr": 1e-5,
    "train_splits": ["train", "val"],
    "valid_splits": ["test"],
    "device": "cpu",
    "warmup_lr": 1e-5,
}
FIXED = {"output_dir", "job_id", "resume_ckpt_path", "evaluate", "evaluations", "dist_url"} | set(
    LAUNCH_KEYS
)
# Beside the table: what such a runner of the tiny model cannot be built with.
UNFIT = {"strategy", "compile", "trackers", "test_final_reason", "task", "runner", "batch_plan"}

# What the resumed run computes with, for the keys that a loaded state could bring back.
IN_USE: dict[str, Callable[[PointRunner], Any]] = {
    "weight_decay": lambda r: max(g["weight_decay"] for g in r.parts.optimizer.param_groups),
    "beta2": lambda r: r.parts.optimizer.param_groups[0]["betas"][1],
    "ema_decay": lambda r: r.parts.ema.decay if r.parts.ema else None,
    "init_lr": lambda r: r.parts.lr_plan.init_lr,
    "min_lr": lambda r: r.parts.lr_plan.min_lr,
    "max_steps": lambda r: r.parts.total_steps,
}


def other_value(field: Field) -> Any:
    """Return a value of a key that is allowed and not its default."""
    if field.name in OTHER:
        return OTHER[field.name]
    if field.choices:
        return next(choice for choice in field.choices if choice != field.default)
    value = BEFORE.get(field.name, field.default)
    if field.kind == "bool":
        return not value
    if field.kind == "int":
        return (value or 0) + 1
    if field.kind == "float":
        return (value or 1.0) / 2
    return ["val"] if field.kind == "strings" else "other"


def _resume(folder: Path, field: Field) -> str:
    """Resume the run `first` with another value; return what became of the key."""
    value, job = other_value(field), f"with_{field.name}"
    path = str(folder / "first" / "checkpoint_last.pth")
    try:
        runner = tiny_runner(folder, job, **{**BEFORE, "resume_ckpt_path": path, field.name: value})
        runner.parts.run_cfg[field.name] = value  # tiny_runner has a seed of its own
        runner.checkpoints.resume()
    except PointLanguageError as error:
        return (
            "refused" if f"run.{field.name}" in str(error) else f"refused without a name: {error}"
        )
    if field.name in IN_USE and IN_USE[field.name](runner) != value:
        return "not applied"
    rows = [row for row in read_rows(folder / job / "log.jsonl") if row["kind"] == "resume"]
    if any(change["key"] == f"run.{field.name}" for change in rows[-1]["changed"]):
        return "applied" if RUN_KEYS[field.name] == APPLIED else "reported"
    return "of the launch" if RUN_KEYS[field.name] == LAUNCH else "silent"


def fig19(folder: Path, quick: bool) -> Figure:
    """Change one key after the other (quick: every fourth, and those that a state brings back)."""
    tiny_runner(folder, "first", **BEFORE).train()
    fields = [f for f in RUN_SCHEMA if f.name not in FIXED | UNFIT]
    chosen = [f for n, f in enumerate(fields) if not quick or n % 4 == 0 or f.name in IN_USE]
    outcomes = {field.name: _resume(folder, field) for field in chosen}
    good = ("applied", "reported", "refused", "of the launch")
    wrong = {name: text for name, text in outcomes.items() if text not in good}
    missing = sorted({field.name for field in RUN_SCHEMA} ^ set(RUN_KEYS))
    measured = {name: sum(text == name for text in outcomes.values()) for name in good}
    measured |= {"of": len(chosen), "wrong": json.dumps(wrong), "not_in_the_table": missing}
    return Figure(not wrong and not missing, measured)
