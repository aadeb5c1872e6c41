"""The `run:` section of a recipe: every key, its type, range, choices and default.

Options of tasks are declared with their task (`lavis/tasks/options.py`); `run_fields` adds those of
every registered task.

`validate_run` is called before anything heavy is built. It refuses unknown keys with the nearest
key, fills in defaults and converts numbers that yaml read as text ("1e-4").
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lavis.common.errors import ConfigError, nearest
from lavis.common.registry import registry

# Scalar types of a yaml by their names in `Field.kind`.
SCALARS = {bool: "bool", int: "int", float: "float", str: "str"}
# Default of keys that stay out of the section unless given, so that `.get(key, default)` works.
UNSET = object()


@dataclass(frozen=True)
class Field:
    """One key of the `run:` section.

    Attributes:
        name: the key.
        kind: int, float, bool, str, strings (a list of texts), factors ({text: positive number}) or
            sections ({text: mapping}).
        default: value when the key is absent or null; UNSET leaves the key out.
        help: what it does, in one line.
        choices: the allowed values, when they are few; of strings, of each of them.
        low, high: inclusive range of a number.
        required: refuse a recipe without the key.
    """

    name: str
    kind: str
    default: Any
    help: str
    choices: tuple[Any, ...] = ()
    low: float = -math.inf
    high: float = math.inf
    required: bool = False


RUN_SCHEMA: tuple[Field, ...] = (
    # what runs
    Field("task", "str", None, "registered task; null: evaluations alone"),
    Field("runner", "str", "runner_point", "registered runner"),
    Field("evaluate", "bool", False, "only evaluate, never train"),
    Field("train_splits", "strings", ["train"], "splits that are trained on"),
    Field("valid_splits", "strings", [], "splits scored during training; the first selects best"),
    Field("test_splits", "strings", [], "splits scored once at the end with the best weights"),
    Field("evaluations", "sections", {}, "{name: {task, dataset, split, every, options} or null}"),
    Field("best", "str", None, "evaluation/metric that selects best; null: the first, agg_metric"),
    # numpy takes 32 bits, and rank r draws from seed + r
    Field("seed", "int", 42, "seed of weights, order and augmentation", low=0, high=2**32 - 2**16),
    # optimisation
    Field("lr_sched", "str", "linear_warmup_cosine_lr", "learning-rate schedule"),
    Field("init_lr", "float", 1e-4, "learning rate after warm-up", low=0),
    Field("min_lr", "float", 0.0, "learning rate at the last step", low=0),
    Field("warmup_lr", "float", -1.0, "learning rate at step 0; negative: init_lr"),
    Field("warmup_steps", "int", 0, "optimiser steps of warm-up", low=0),
    Field(
        "lr_decay_rate", "float", 1.0, "factor per epoch of linear_warmup_step_lr", low=0, high=1
    ),
    Field("lr_multipliers", "factors", {}, "{parameter-name prefix: factor on the learning rate}"),
    Field(
        "optimizer",
        "str",
        "adamw",
        "optimiser of torch",
        choices=("adamw", "adam", "nadam", "radam", "adafactor", "sgd"),
    ),
    Field("momentum", "float", 0.9, "momentum of sgd", low=0, high=0.999999),
    Field("trainable", "strings", [], "globs of the parameters that train; none: the model's own"),
    Field("weight_decay", "float", 0.05, "weight decay; biases and 1-D weights have none", low=0),
    Field("beta2", "float", 0.999, "second-moment decay of the Adam family", low=0, high=0.999999),
    Field("max_epoch", "int", None, "passes over the training data", low=0),
    Field("max_steps", "int", None, "cap on optimiser steps", low=1),
    Field("accum_grad_iters", "int", 1, "batches per optimiser step", low=1),
    Field(
        *("accumulate", "str", "gradients", "batches of a step: averaged, or contrasted"),
        choices=("gradients", "contrast"),
    ),
    Field("grad_clip", "float", None, "largest gradient norm; null: no clipping", low=1e-12),
    Field("amp", "bool", False, "mixed precision; on a CPU only where bf16 is native"),
    Field("amp_dtype", "str", "auto", "precision of amp", choices=("auto", "bf16", "fp16")),
    Field(
        "layer_decay", "float", None, "factor per layer below the last of a stack", low=0, high=1
    ),
    Field("ema_decay", "float", None, "average of the weights, also scored", low=0, high=1),
    Field("on_nonfinite", "str", "stop", "a NaN or infinite step", choices=("stop", "skip")),
    Field("max_skipped_steps", "int", 10, "steps in a row that may be skipped", low=1),
    Field("activation_checkpointing", "bool", False, "recompute blocks: less memory, slower"),
    Field("compile", "bool", False, "torch.compile the model"),
    Field("compile_backend", "str", "inductor", "back end of torch.compile"),
    # data
    Field("length_buckets", "int", 0, "steps sorted by text length together; 0: none", low=0),
    Field(
        "batch_plan",
        "str",
        None,
        "same_object, or a file of neighbours {id: [ids]} that share a batch",
    ),
    Field("batch_size_train", "int", 32, "objects per process and batch", low=1),
    Field("batch_size_eval", "int", 32, "objects per process and batch", low=1),
    Field("train_dataset_repeats", "factors", {}, "{data set: passes through it in one epoch}"),
    Field("num_workers", "int", 0, "loader processes per rank", low=0, high=256),
    Field(
        "use_dist_eval_sampler", "bool", True, "kept for stock recipes: always sharded, unpadded"
    ),
    # records
    Field("output_dir", "str", None, "folder of all jobs, relative to the root", required=True),
    Field("job_id", "str", None, "name of this job's folder; null: the start time"),
    Field("resume_ckpt_path", "str", None, "checkpoint to continue from, or auto"),
    Field("keep_checkpoints", "int", 2, "newest checkpoints to keep, and the best", low=1),
    Field("on_save_error", "str", "stop", "when a save fails", choices=("stop", "continue")),
    Field("trackers", "strings", [], "tensorboard, wandb, trackio (each needs its package)"),
    Field("log_freq", "int", 50, "optimiser steps between log lines", low=1),
    Field("save_freq", "int", 0, "optimiser steps between saves; 0: at epoch ends only", low=0),
    Field("eval_freq", "int", 1, "epochs between validations; the last epoch always", low=1),
    Field("agg_metric", "str", None, "metric that selects best; null: the task's agg_metrics"),
    Field("agg_mode", "str", "max", "better direction of that metric", choices=("max", "min")),
    # processes
    Field("device", "str", "auto", "where to run", choices=("auto", "cpu", "cuda")),
    Field("distributed", "bool", False, "set by the launcher"),
    Field("world_size", "int", 1, "set by the launcher", low=1),
    Field("rank", "int", 0, "set by the launcher", low=0),
    Field("gpu", "int", 0, "set by the launcher", low=0),
    Field("dist_url", "str", "env://", "rendezvous of the process group"),
    Field("dist_backend", "str", None, "null: by device", choices=("nccl", "gloo")),
    Field("sync_batchnorm", "bool", False, "batch statistics over all ranks (CUDA)"),
    Field("find_unused_parameters", "bool", False, "for DDP models with idle parameters"),
    Field("strategy", "str", "ddp", "model on each rank, or sharded", choices=("ddp", "fsdp")),
    Field("stall_timeout", "float", 1800.0, "seconds without a step that end a run; 0: off", low=0),
    Field("num_threads", "int", None, "CPU threads of torch; null: its own choice", low=1),
    # evaluation (docs/evaluation.md)
    Field("test_final_reason", "str", None, "why test-final is scored: evaluate.py --test-final"),
)

# Keys that describe the machine of one launch, so they are left out of a saved config.
LAUNCH_KEYS = ("distributed", "world_size", "rank", "gpu")


def run_fields() -> dict[str, Field]:
    """Return every key of the section: those of `RUN_SCHEMA` and the options of tasks."""
    found = {field.name: field for field in RUN_SCHEMA}
    for name in registry.list_tasks():
        found = task_options(name) | found
    return found


def task_options(task: str) -> dict[str, Field]:
    """Return the options of a registered task."""
    options = getattr(registry.get_task_class(task), "options_class", None)
    return dict(options.schema()) if options else {}


def validate_run(section: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Check the `run:` section and complete it with defaults.

    Args:
        section: plain mapping of the merged section.
        where: the recipe's path, for messages.

    Returns:
        Every key of RUN_SCHEMA with a value of its type; options of tasks only when given.

    Raises:
        ConfigError: unknown or missing key, wrong type, value out of range or not a choice.
    """
    fields = run_fields()
    for key in section:
        if key not in fields:
            raise ConfigError(
                f"unknown key {key!r}.{nearest(key, fields)}",
                where=f"{where}: run.{key}",
                got=section[key],
                expected=f"one of {', '.join(sorted(fields))}",
                fix="correct or remove the key",
            )
    run = {name: _value(field, section.get(name), where) for name, field in fields.items()}
    run = {name: value for name, value in run.items() if value is not UNSET}
    _check_together(run, where)
    return run


def _value(field: Field, raw: Any, where: str) -> Any:
    """Return the checked value of one key, or its default."""
    if raw is None:
        if field.required:
            key = f"{where}: run.{field.name}"
            raise ConfigError("a required key is missing", where=key, expected=field.help)
        return field.default
    return checked_value(field, raw, where)


def checked_value(field: Field, raw: Any, where: str) -> Any:
    """Return the value of a given key in its type.

    Raises:
        ConfigError: a wrong type, a value out of range or not a choice.
    """
    key = f"{where}: run.{field.name}"
    value = coerce(field.kind, raw, key, field.help)
    for item in value if field.kind == "strings" else [value]:
        if field.choices and item not in field.choices:
            hint = nearest(item, field.choices)
            choices = ", ".join(field.choices)
            raise ConfigError(f"not a choice.{hint}", where=key, got=raw, expected=choices)
    if field.kind in ("int", "float") and not field.low <= value <= field.high:
        expected = f"{field.low:g} to {field.high:g} ({field.help})"
        raise ConfigError("value out of range", where=key, got=raw, expected=expected)
    return value


def coerce(kind: str, raw: Any, where: str, meaning: str) -> Any:
    """Turn a yaml value into `kind`, without guessing.

    Text of a number ("1e-4") becomes that number; 0/1 and "yes" are not booleans.

    Raises:
        ConfigError: the value is of another type.
    """
    value = _COERCIONS[kind](raw)
    if value is None:
        expected = f"{_KIND_NAMES[kind]} ({meaning})"
        got = f"{raw!r} ({type(raw).__name__})"
        raise ConfigError("wrong type", where=where, got=got, expected=expected)
    return value


def _as_float(raw: Any) -> float | None:
    if isinstance(raw, bool) or not isinstance(raw, (int, float, str)):
        return None
    try:
        number = float(raw)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _as_int(raw: Any) -> int | None:
    number = _as_float(raw)
    return int(number) if number is not None and number == int(number) else None


def _as_bool(raw: Any) -> bool | None:
    if isinstance(raw, str) and raw.lower() in ("true", "false"):
        return raw.lower() == "true"
    return raw if isinstance(raw, bool) else None


def _as_str(raw: Any) -> str | None:
    # A job_id of digits or a prompt of one number is read by yaml as a number: text is meant.
    if isinstance(raw, bool) or not isinstance(raw, (str, int, float)):
        return None
    return str(raw)


def _as_strings(raw: Any) -> list[str] | None:
    if isinstance(raw, str):
        return [raw]
    if not isinstance(raw, (list, tuple)) or not all(isinstance(item, str) for item in raw):
        return None
    return list(raw)


def _as_factors(raw: Any) -> dict[str, float] | None:
    if not isinstance(raw, Mapping):
        return None
    factors = {str(name): _as_float(value) for name, value in raw.items()}
    if any(factor is None or factor < 0 for factor in factors.values()):
        return None
    return {name: factor for name, factor in factors.items() if factor is not None}


def _as_sections(raw: Any) -> dict[str, dict[str, Any]] | None:
    if not isinstance(raw, Mapping):
        return None
    named = {str(name): section for name, section in raw.items() if section is not None}
    if not all(isinstance(section, Mapping) for section in named.values()):
        return None
    return {name: dict(section) for name, section in named.items()}


_COERCIONS = {
    "int": _as_int,
    "float": _as_float,
    "bool": _as_bool,
    "str": _as_str,
    "strings": _as_strings,
    "factors": _as_factors,
    "sections": _as_sections,
}
_KIND_NAMES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "strings": "a list of texts",
    "factors": "a mapping from text to numbers >= 0",
    "sections": "a mapping from text to mappings",
}


def _check_together(run: Mapping[str, Any], where: str) -> None:
    """Check the conditions that tie several keys."""
    if run["accumulate"] == "contrast" and run["strategy"] == "fsdp":
        what = "sharded models are not contrasted over the batches of a step"
        where_key = f"{where}: run.accumulate"
        raise ConfigError(what, where=where_key, fix="run.strategy=ddp")
    if run["task"] is None and not (run["evaluate"] and run["evaluations"]):
        expected = "a registered task (optional for an evaluation with run.evaluations)"
        raise ConfigError(
            "a required key is missing", where=f"{where}: run.task", expected=expected
        )
    if not run["evaluate"] and run["max_epoch"] is None and run["max_steps"] is None:
        raise ConfigError(
            "training needs a length",
            where=f"{where}: run.max_epoch",
            expected="run.max_epoch or run.max_steps (or run.evaluate: true)",
        )
    if run.get("min_len", 0) > run.get("max_len", math.inf):
        got = f"min_len {run['min_len']}, max_len {run['max_len']}"
        raise ConfigError("min_len exceeds max_len", where=f"{where}: run.min_len", got=got)
    if not run["evaluate"] and run["min_lr"] > run["init_lr"]:
        got = f"min_lr {run['min_lr']:g}, init_lr {run['init_lr']:g}"
        raise ConfigError("min_lr exceeds init_lr", where=f"{where}: run.min_lr", got=got)
    _check_reason(run, where)
    _check_job_id(run["job_id"], where)


def _check_job_id(job_id: str | None, where: str) -> None:
    """Check that a job's id is the name of one folder on any file system."""
    if job_id is None:
        return
    reserved = (
        job_id.strip() in ("", ".", "..", "latest") or len(job_id.encode(errors="replace")) > 200
    )
    if reserved or "/" in job_id or "\\" in job_id or not job_id.isprintable():
        raise ConfigError(
            "job_id names a folder below output_dir",
            where=f"{where}: run.job_id",
            got=ascii(job_id[:250]),
            expected="one folder name of at most 200 bytes that can be printed, not 'latest'",
        )


def _check_reason(run: Mapping[str, Any], where: str) -> None:
    """Check that a reason for scoring test-final is one, and that the run only evaluates."""
    reason = run["test_final_reason"]
    if reason is None:
        return
    if not run["evaluate"] or not reason.strip():
        raise ConfigError(
            "test-final is scored by an evaluation that says why",
            where=f"{where}: run.test_final_reason",
            got=repr(reason) if run["evaluate"] else "a training run",
            expected='evaluate.py --test-final "<reason>"',
        )
