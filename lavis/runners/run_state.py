"""The position of a run, and how a checkpoint stores and restores it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lavis.common.errors import CheckpointError


@dataclass
class RunState:
    """Progress of a training run.

    Attributes:
        epoch: epoch in progress, from 0.
        step_in_epoch: optimiser steps done in it.
        global_step: optimiser steps done in all.
        best_metric, best_epoch: of the validation that saved `checkpoint_best.pth`.
        finished: the last epoch of the plan was validated and saved.
        skipped_steps: updates left out because a value was not finite.
        skipped_in_row: those since the last update.
    """

    epoch: int = 0
    step_in_epoch: int = 0
    global_step: int = 0
    best_metric: float | None = None
    best_epoch: int | None = None
    finished: bool = False
    skipped_steps: int = 0
    skipped_in_row: int = 0

    def is_better(self, metric: float, mode: str = "max") -> bool:
        """Return whether `metric` beats the best so far; the first does, a later NaN does not."""
        if self.best_metric is None:
            return True
        if math.isnan(metric):
            return False
        if math.isnan(self.best_metric):
            return True
        return metric > self.best_metric if mode == "max" else metric < self.best_metric

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a checkpoint."""
        return asdict(self)


RUN_KEYS = ("model", "optimizer", "scaler", "state", "rng", "global_batch", "steps_per_epoch")


def check_resumable(payload: dict[str, Any], path: Any) -> None:
    """Refuse a checkpoint that holds weights only, such as a published one.

    Raises:
        CheckpointError: something that resuming needs is missing.
    """
    absent = [key for key in RUN_KEYS if key not in payload]
    if absent:
        raise CheckpointError(
            "a checkpoint cannot be resumed from",
            where=f"run.resume_ckpt_path: {path}",
            got=f"no {', '.join(absent)}",
            expected="a checkpoint_last.pth or checkpoint_best.pth of this runner",
            fix="to start from its weights, set model.pretrained instead",
        )


def check_frozen(payload: dict[str, Any], frozen: str, path: Any) -> None:
    """Refuse frozen weights other than those that the checkpoint was trained with.

    Raises:
        CheckpointError: the hashes differ.
    """
    stored = payload.get("frozen", frozen)
    if stored != frozen:
        raise CheckpointError(
            "the frozen part of the model is not the one of the checkpoint",
            where=f"run.resume_ckpt_path: {path}",
            got=f"sha256 {frozen[:12]}…",
            expected=f"sha256 {stored[:12]}…",
            fix="name the same weight files and precision as the config.yaml beside it",
        )


def state_for_geometry(
    payload: dict[str, Any],
    global_batch: int,
    steps_per_epoch: int,
    sizes: Sequence[int],
    path: Any,
) -> RunState:
    """Return the stored state, checked against the new run's batches.

    Raises:
        CheckpointError: the checkpoint lies inside an epoch that the new run would cut differently.
    """
    state = RunState(**payload["state"])
    stored = (payload["global_batch"], payload["steps_per_epoch"], payload.get("sizes", sizes))
    now = (global_batch, steps_per_epoch, sizes)
    if state.step_in_epoch and tuple(map(str, stored)) != tuple(map(str, now)):
        shape = "{} samples per step, {} steps per epoch, data sets of {} samples"
        raise CheckpointError(
            "a checkpoint inside an epoch needs the same batches to continue",
            where=f"run.resume_ckpt_path: {path}",
            got=shape.format(*now),
            expected=shape.format(*stored),
            fix="keep run.batch_size_train x processes x run.accum_grad_iters and the data",
        )
    return state
