"""Learning-rate schedules against their closed forms."""

from __future__ import annotations

import itertools
import math

import pytest

from lavis.runners.lr_schedules import SCHEDULES, LrPlan, linear_warmup_cosine_lr

PLAN = LrPlan(
    total_steps=110, steps_per_epoch=20, init_lr=1.0, min_lr=0.1, warmup_lr=0.2, warmup_steps=10
)


def test_cosine_passes_through_its_landmarks():
    rate = [linear_warmup_cosine_lr(step, PLAN) for step in range(111)]
    assert rate[0] == 0.2
    assert math.isclose(rate[5], 0.6)
    assert rate[10] == 1.0
    assert math.isclose(rate[60], 0.55)
    assert math.isclose(rate[110], 0.1)
    assert all(a > b for a, b in itertools.pairwise(rate[10:]))


def test_negative_warmup_lr_means_no_ramp():
    plan = LrPlan(total_steps=10, steps_per_epoch=5, init_lr=1.0, warmup_steps=4)
    assert {linear_warmup_cosine_lr(step, plan) for step in range(5)} == {1.0}


def test_warm_up_crosses_epochs_and_may_fill_the_run():
    plan = LrPlan(total_steps=8, steps_per_epoch=2, init_lr=1.0, warmup_lr=0.0, warmup_steps=8)
    assert [linear_warmup_cosine_lr(step, plan) for step in range(8)] == [k / 8 for k in range(8)]


def test_step_schedule_decays_per_epoch_down_to_min_lr():
    plan = LrPlan(total_steps=100, steps_per_epoch=10, init_lr=1.0, min_lr=0.2, decay_rate=0.5)
    rates = [SCHEDULES["linear_warmup_step_lr"](step, plan) for step in (0, 9, 10, 20, 90)]
    assert rates == [1.0, 1.0, 0.5, 0.25, 0.2]


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_every_schedule_is_positive_and_finite(name):
    assert all(0 < SCHEDULES[name](step, PLAN) <= 1.0 for step in range(PLAN.total_steps))
