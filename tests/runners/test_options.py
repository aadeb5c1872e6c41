"""Options of training: average, layer decay, buckets, recomputation, skipping, plan."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from lavis.common.errors import ConfigError, NonFiniteLossError
from lavis.runners.ema import Ema
from lavis.runners.lr_schedules import SCHEDULES
from lavis.runners.memory_savers import checkpoint_activations
from lavis.runners.optimizer import layer_scales
from lavis.runners.plan import kept_for_backward, parameter_counts, render, state_bytes
from lavis.runners.samplers import BatchGeometry, epoch_steps


def weights(runner):
    return {name: value.clone() for name, value in runner.parts.module.state_dict().items()}


def test_the_average_follows_its_formula_and_swaps_back():
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(0.0)
    average = Ema(model, 0.9)
    model.weight.data.fill_(1.0)
    average.update(1)
    assert average.average["weight"].item() == pytest.approx(1 - 2 / 11)
    with average.applied():
        assert model.weight.item() == pytest.approx(1 - 2 / 11)
    assert model.weight.item() == 1.0


def test_the_average_is_scored_beside_the_weights_and_resumes(tiny):
    options = {"ema_decay": 0.8, "init_lr": 0.1, "dropout": 0.3}
    whole = tiny.runner("whole", **options)
    metrics = whole.train()
    assert metrics["test"]["agg_metrics"] != metrics["test_ema"]["agg_metrics"]
    splits = {row["split"] for row in tiny.rows("whole", "eval")}
    assert splits == {"val", "val_ema", "test", "test_ema"}
    plain = tiny.runner("plain", init_lr=0.1, dropout=0.3)
    plain.train()  # the average must not change the training
    assert torch.equal(weights(plain)["head.weight"], weights(whole)["head.weight"])
    tiny.runner("cut", **options, max_steps=5, lr_sched="constant_lr").train()
    again = tiny.runner(
        "again", **options, resume_ckpt_path=str(tiny.path / "cut/checkpoint_last.pth")
    )
    again.checkpoints.resume()
    assert not torch.equal(again.parts.ema.average["head.weight"], weights(again)["head.weight"])


def test_layer_decay_counts_from_the_top_of_each_stack():
    names = ["enc.embed.weight", "enc.blocks.0.w", "enc.blocks.1.w", "enc.blocks.2.w", "head.w"]
    scales = layer_scales(names, 0.5)
    assert [scales[name] for name in names] == [0.125, 0.25, 0.5, 1.0, 1.0]


def test_layer_decay_reaches_the_optimizer(tiny):
    model = tiny.Model()
    model.blocks = nn.ModuleList(nn.Linear(2, 2) for _ in range(2))
    runner = tiny.runner(model=model, layer_decay=0.1)
    scales = sorted({group["lr_scale"] for group in runner.parts.optimizer.param_groups})
    assert scales == pytest.approx([0.1, 1.0])


def test_buckets_shrink_padding_and_keep_every_sample():
    lengths = np.random.default_rng(0).integers(1, 40, 400)
    plain = epoch_steps([400], BatchGeometry(8), 0, 0)
    sorted_steps = epoch_steps([400], BatchGeometry(8), 0, 0, None, lengths, 10)
    assert sorted(np.concatenate(plain)) == sorted(np.concatenate(sorted_steps))

    def padding(steps):
        return sum(int((lengths[step].max() - lengths[step]).sum()) for step in steps)

    assert padding(sorted_steps) < 0.3 * padding(plain)
    other = epoch_steps([400], BatchGeometry(2, world_size=2, accum=2), 0, 0, None, lengths, 10)
    assert [step.tolist() for step in other] == [step.tolist() for step in sorted_steps]


def test_buckets_need_texts(tiny):
    with pytest.raises(ConfigError, match="length_buckets"):
        tiny.runner(length_buckets=4).train()


class Blocks(nn.Module):
    """A stack with dropout."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        blocks = (nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.GELU()) for _ in range(3))
        self.blocks = nn.ModuleList(blocks)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.4

    def forward(self, samples):
        hidden = samples["inputs"]
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return {"loss": (hidden.mean(-1, keepdim=True) - samples["targets"]).square().mean()}


@pytest.mark.parametrize("options", [{"activation_checkpointing": True}, {"compile": True}])
def test_memory_and_compile_options_keep_the_numbers(tiny, options):
    plain = tiny.runner("plain", model=Blocks())
    plain.train()
    other = tiny.runner("other", model=Blocks(), compile_backend="eager", **options)
    other.train()
    first, second = weights(plain), weights(other)
    assert next(iter(first.values())).equal(next(iter(second.values())))
    assert sorted(first) == sorted(
        name.replace("_checkpoint_wrapped_module.", "") for name in second
    )


def test_blocks_with_batch_normalisation_are_not_recomputed():
    model = nn.Module()
    model.blocks = nn.ModuleList(
        nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)) for _ in range(2)
    )
    assert checkpoint_activations(model) == 0


class Poisoned(nn.Module):
    """Gives NaN in chosen batches; its batch normalisation sees the NaN first."""

    def __init__(self, bad):
        super().__init__()
        self.norm, self.head = nn.BatchNorm1d(4), nn.Linear(4, 1)
        self.bad, self.batches = bad, 0

    def forward(self, samples):
        inputs = samples["inputs"]
        if self.training:
            inputs = inputs * (math.nan if self.batches in self.bad else 1.0)
            self.batches += 1
        return {"loss": (self.head(self.norm(inputs)) - samples["targets"]).square().mean()}


def test_a_skipped_step_leaves_no_trace_but_its_row(tiny):
    runner = tiny.runner(model=Poisoned({2}), on_nonfinite="skip", max_epoch=1, log_freq=1)
    runner.train()
    assert runner.state.skipped_steps == 1
    assert runner.state.global_step == 5
    assert torch.isfinite(runner.parts.module.norm.running_mean).all()
    (row,) = tiny.rows(kind="skipped_step")
    assert row["why"][0]["instance_ids"] == runner.parts.task.trained_ids[2]


def test_too_many_skips_in_a_row_stop(tiny):
    runner = tiny.runner(model=Poisoned({1, 2, 3}), on_nonfinite="skip", max_skipped_steps=2)
    with pytest.raises(NonFiniteLossError, match="3 times in a row"):
        runner.train()


def test_the_plan_counts_and_writes_nothing(tiny, capsys):
    runner = tiny.runner("real", warmup_steps=2, warmup_lr=0.0)
    runner.parts.dry_run = True
    plan = runner.print_plan()
    assert (plan["trainable"], plan["frozen"]) == (9, 40)
    assert plan["parameters"]["head"] == {"trainable": 9, "frozen": 0}
    assert (plan["steps_per_epoch"], plan["total_steps"], plan["objects_per_step"]) == (5, 10, 4)
    assert plan["learning_rates"]["2"] == SCHEDULES["linear_warmup_cosine_lr"](
        2, runner.parts.lr_plan
    )
    assert plan["memory_bytes_per_process"]["optimizer"] == 2 * 9 * 4
    printed = capsys.readouterr().out
    assert "10 in all" in printed
    assert render(plan) in printed


def test_what_the_backward_pass_keeps_is_counted_once(tiny):
    model = nn.Linear(100, 100)
    inputs = torch.randn(10, 100)

    class Task:
        def train_step(self, model, samples):
            return model(samples).relu().sum()

    kept = kept_for_backward(Task(), model, inputs)
    assert kept == 2 * 10 * 100 * 4  # the input, and the result of relu
    assert parameter_counts(model) == {"weight": (10_000, 0), "bias": (100, 0)}
    assert state_bytes(model, True)["average"] == 10_100 * 4


def test_a_dry_run_makes_no_folder(tiny):
    from lavis.runners.runner import PointRunner

    source = tiny.runner("source")
    runner = PointRunner(
        cfg=source.parts.config,
        task=tiny.Task(),
        model=tiny.Model(),
        datasets=source.parts.datasets,
        job_id="dry",
        dry_run=True,
    )
    runner.print_plan()
    assert not (tiny.path / "dry").exists()
