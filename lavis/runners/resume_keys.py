"""What a resumed run does with a key that is not the one it was trained with.

One table: `RUN_KEYS` for the run section, `KEPT_KEYS` for keys of the model section that choose
where training begins. Every other key of the model and of the data sets is read anew: it is
applied, and a state of other shapes, or other frozen weights, is refused when it is loaded.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lavis.common.errors import CheckpointError
from lavis.config.run_schema import UNSET, run_fields

LAUNCH = "launch"  # properties of one launch, without influence on the training
APPLIED = "applied from here on"
SELECTS = "applied; the best so far was selected otherwise and is selected anew"
AT_EDGE = "applied from this epoch on"  # inside an epoch: refused
REFUSED = "refused"
KEPT = "without effect: the checkpoint has the value"

_BY_EFFECT = {
    LAUNCH: """
        evaluate output_dir job_id resume_ckpt_path keep_checkpoints on_save_error trackers log_freq
        save_freq test_final_reason batch_size_eval use_dist_eval_sampler num_workers num_threads
        device distributed world_size rank gpu dist_url dist_backend stall_timeout strategy
        find_unused_parameters compile compile_backend activation_checkpointing""",
    APPLIED: """
        lr_sched init_lr min_lr warmup_lr warmup_steps lr_decay_rate momentum weight_decay beta2
        max_epoch max_steps batch_size_train accum_grad_iters accumulate grad_clip amp amp_dtype
        ema_decay on_nonfinite max_skipped_steps sync_batchnorm test_splits evaluations
        eval_freq""",
    SELECTS: "valid_splits best agg_metric agg_mode",
    AT_EDGE: "seed train_splits length_buckets batch_plan train_dataset_repeats",
    REFUSED: "runner task optimizer trainable lr_multipliers layer_decay",
}
# Options of tasks are not listed: an evaluation reads them anew.
RUN_KEYS = {key: effect for effect, keys in _BY_EFFECT.items() for key in keys.split()}
KEPT_KEYS = frozenset(
    (
        *("pretrained", "finetuned", "load_pretrained", "load_finetuned"),
        *("point_encoder_weights", "init_scale", "projector_seed"),
    )
)


@dataclass(frozen=True)
class Change:
    """A key whose value is not that of the checkpoint.

    Attributes:
        key: dotted, e.g. "run.weight_decay".
        before, now: the values; None for a key that is not given.
        effect: one of the constants above.
    """

    key: str
    before: Any
    now: Any
    effect: str

    def __str__(self) -> str:
        return f"{self.key}: {_short(self.before)} -> {_short(self.now)} ({self.effect})"


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """Return what differs between two resolved configurations, in the order of the keys.

    Args:
        before: of the checkpoint; a key of a later version than its own had its default.
        now: of this launch.
    """
    old, new = dict(_flat(before, now)), dict(_flat(now, before))
    differing = [key for key in sorted({*old, *new}) if _text(old.get(key)) != _text(new.get(key))]
    found = [Change(key, old.get(key), new.get(key), effect_of(key)) for key in differing]
    if _selecting(old) == _selecting(new):
        return found
    return [replace(c, effect=SELECTS) if c.key == "run.evaluations" else c for c in found]


def _selecting(flat: Mapping[str, Any]) -> Any:
    """Return the section of the named evaluation that selects the best checkpoint, if one does."""
    named = flat["run.evaluations"]
    regular = [name for name, section in named.items() if section.get("every") != 0]
    first = [*flat["run.valid_splits"], *regular, None][0]
    name = flat["run.best"].partition("/")[0] if flat["run.best"] else first
    return name, named.get(name)


def effect_of(key: str) -> str:
    """Return what a resumed run does with another value of a dotted key."""
    section, _, name = key.partition(".")
    if section == "run":
        return RUN_KEYS.get(name, APPLIED)
    if section == "model" and name.split(".")[0] in KEPT_KEYS:
        return KEPT
    return APPLIED


def check_changes(
    before: Mapping[str, Any], now: Mapping[str, Any], inside_epoch: bool, path: Any
) -> list[Change]:
    """Warn about each changed key that the user should check, and return these keys.

    Args:
        before, now: resolved configurations of the checkpoint and of this launch.
        inside_epoch: the checkpoint was saved within an epoch, so the order of samples is fixed.
        path: of the checkpoint, for messages.

    Raises:
        CheckpointError: a key changed that must stay the same.
    """
    found = [change for change in changes(before, now) if change.effect != LAUNCH]
    unfit = (REFUSED, AT_EDGE) if inside_epoch else (REFUSED,)
    refused = [change for change in found if change.effect in unfit]
    if refused:
        raise CheckpointError(
            "a run cannot be resumed with other values of these keys"
            + " inside an epoch" * all(change.effect == AT_EDGE for change in refused),
            where=f"run.resume_ckpt_path: {path}",
            got=", ".join(f"{change.key}={_short(change.now)}" for change in refused),
            expected=", ".join(f"{change.key}={_short(change.before)}" for change in refused),
            fix="set them back, or begin a job from the weights alone: model.pretrained",
        )
    for change in found:
        logging.warning("Another value than the checkpoint has: %s", change)
    return found


def _flat(config: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value): keys of `run` whole, those of models and data sets to the leaf."""
    run = {name: field.default for name, field in run_fields().items() if field.default != UNSET}
    for name, value in (run | dict(config.get("run") or {})).items():
        yield f"run.{name}", value
    for section in ("model", "datasets"):
        if section in config and section in other:
            yield from _leaves(config[section], section)


def _leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) of everything that is no mapping."""
    if not isinstance(value, Mapping):
        yield key, value
        return
    for name, item in value.items():
        yield from _leaves(item, f"{key}.{name}")


def _text(value: Any) -> str:
    """Return a form in which 1 and 1.0, or a list and a tuple, are equal."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return repr(float(value))
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_text(item) for item in value)}]"
    return json.dumps(value, sort_keys=True, default=str)


def _short(value: Any) -> str:
    """Return a value for a message."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."
