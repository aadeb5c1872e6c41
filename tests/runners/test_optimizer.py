"""Parameter groups."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lavis.common.errors import ConfigError
from lavis.runners.optimizer import (
    OPTIMIZERS,
    build_optimizer,
    parameter_groups,
    set_learning_rate,
)


@pytest.fixture
def model():
    return nn.ModuleDict(
        {
            "encoder": nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3)),
            "encoder2": nn.Linear(3, 3, bias=False),
            "frozen": nn.Linear(3, 3).requires_grad_(False),
        }
    )


def test_one_dimensional_weights_do_not_decay_and_frozen_ones_are_left_out(model):
    groups = parameter_groups(model, 0.1, {})
    by_decay = {group["weight_decay"]: group["params"] for group in groups}
    assert {tuple(p.shape) for p in by_decay[0.1]} == {(3, 2), (3, 3)}
    assert [p.ndim for p in by_decay[0.0]] == [1, 1, 1]


def test_the_longest_prefix_sets_the_learning_rate(model):
    run = {"weight_decay": 0.0, "init_lr": 1.0, "beta2": 0.9}
    optimizer = build_optimizer(model, run | {"lr_multipliers": {"encoder": 0.1, "encoder.1": 0.5}})
    set_learning_rate(optimizer, 2.0)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert rates[id(model["encoder"][0].weight)] == pytest.approx(0.2)
    assert rates[id(model["encoder"][1].weight)] == 1.0
    assert rates[id(model["encoder2"].weight)] == 2.0  # a prefix ends at a dot


def test_a_prefix_that_matches_nothing_and_a_frozen_model_are_refused(model):
    with pytest.raises(ConfigError, match="Did you mean 'encoder"):
        parameter_groups(model, 0.1, {"encodr": 0.5})
    with pytest.raises(ConfigError, match="no trainable parameter"):
        parameter_groups(model.requires_grad_(False), 0.1, {})


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_every_optimizer_trains_and_resumes_exactly(tiny, name):
    common = {"optimizer": name, "init_lr": 0.05, "lr_sched": "constant_lr"}
    whole = tiny.runner("whole", **common)
    whole.train()
    assert type(whole.parts.optimizer) is OPTIMIZERS[name]
    before = tiny.Model().head.weight
    assert not torch.equal(whole.parts.module.head.weight, before)
    tiny.runner("cut", **common, max_steps=5).train()
    path = str(tiny.path / "cut/checkpoint_last.pth")
    rest = tiny.runner("rest", **common, resume_ckpt_path=path)
    rest.train()
    assert torch.equal(whole.parts.module.head.weight, rest.parts.module.head.weight)


def test_an_unknown_optimizer_is_refused(tiny):
    with pytest.raises(ConfigError, match=r"run\.optimizer"):
        tiny.runner(optimizer="adamww")


def test_patterns_choose_what_trains(tiny):
    runner = tiny.runner(trainable=["*.bias"], max_epoch=1)
    before = {n: p.clone() for n, p in runner.parts.module.named_parameters()}
    runner.train()
    changed = {
        n for n, p in runner.parts.module.named_parameters() if not torch.equal(p, before[n])
    }
    assert changed == {"head.bias"}


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("haed.*", "head"), ("frozen.*", "frozen parameters only")],
)
def test_patterns_that_match_nothing_trainable_are_refused(tiny, pattern, message):
    with pytest.raises(ConfigError, match=r"run\.trainable") as caught:
        tiny.runner(trainable=["head.*", pattern])
    assert message in str(caught.value)
