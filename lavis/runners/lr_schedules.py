"""Learning-rate schedules as pure functions of the optimiser step.

Stock LAVIS schedules per epoch and warms up in epoch 0 only. Here the rate of step s depends on s
and the plan alone, so a resumed run needs no scheduler state. The names are those of stock LAVIS.

References:
    cosine decay: Loshchilov & Hutter 2017, arXiv:1608.03983, without restarts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class LrPlan:
    """Properties of the run that a schedule uses.

    Attributes:
        total_steps: optimiser steps of the whole run.
        steps_per_epoch: optimiser steps of one epoch.
        init_lr, min_lr: rate after warm-up, and at the end.
        warmup_lr: rate at step 0; negative: init_lr (no warm-up).
        warmup_steps: steps until init_lr is reached.
        decay_rate: factor per epoch, for the step schedule.
    """

    total_steps: int
    steps_per_epoch: int
    init_lr: float
    min_lr: float = 0.0
    warmup_lr: float = -1.0
    warmup_steps: int = 0
    decay_rate: float = 1.0


def warmup(step: int, plan: LrPlan) -> float:
    """Return the linear warm-up rate of `step` < `plan.warmup_steps`."""
    start = plan.warmup_lr if plan.warmup_lr >= 0 else plan.init_lr
    return start + (plan.init_lr - start) * step / plan.warmup_steps


def linear_warmup_cosine_lr(step: int, plan: LrPlan) -> float:
    """Warm up linearly, then follow half a cosine that reaches `min_lr` after the last step."""
    if step < plan.warmup_steps:
        return warmup(step, plan)
    decay_steps = max(1, plan.total_steps - plan.warmup_steps)
    progress = min(1.0, (step - plan.warmup_steps) / decay_steps)
    return plan.min_lr + (plan.init_lr - plan.min_lr) * 0.5 * (1.0 + math.cos(math.pi * progress))


def linear_warmup_step_lr(step: int, plan: LrPlan) -> float:
    """Warm up linearly, then multiply by `decay_rate` each epoch, not below `min_lr`."""
    if step < plan.warmup_steps:
        return warmup(step, plan)
    epoch = step // max(1, plan.steps_per_epoch)
    return max(plan.min_lr, plan.init_lr * plan.decay_rate**epoch)


def constant_lr(step: int, plan: LrPlan) -> float:
    """Warm up linearly, then stay at `init_lr`."""
    return warmup(step, plan) if step < plan.warmup_steps else plan.init_lr


SCHEDULES: dict[str, Callable[[int, LrPlan], float]] = {
    "linear_warmup_cosine_lr": linear_warmup_cosine_lr,
    "linear_warmup_step_lr": linear_warmup_step_lr,
    "constant_lr": constant_lr,
}
