"""Resuming with other keys: each is applied, refused or reported."""

from __future__ import annotations

import dataclasses

import pytest
from lavis.common.registry import registry

from lavis.common.checkpoint import load_checkpoint_file
from lavis.common.errors import CheckpointError
from lavis.config.run_schema import RUN_SCHEMA, run_fields
from lavis.runners import resume_keys
from lavis.runners.optimizer import own_options
from lavis.runners.resume_keys import RUN_KEYS, changes, check_changes

# What only says where a model's training begins has one of these in its name.
BEGINS = ("pretrained", "finetuned", "_weights", "init_", "seed")


def test_every_key_of_the_schema_is_in_the_table_once():
    listed = " ".join(resume_keys._BY_EFFECT.values()).split()
    assert sorted(listed) == sorted(field.name for field in RUN_SCHEMA)


def test_every_model_key_that_chooses_a_beginning_is_in_the_table():
    names = {
        field.name
        for model in registry.list_models()
        if (config := getattr(registry.get_model_class(model), "config_class", None))
        for field in dataclasses.fields(config)
        if any(part in field.name for part in BEGINS)
    }
    names.discard("loss_weights")
    assert names
    assert names <= resume_keys.KEPT_KEYS


def config(**sections):
    run = {"task": "t", "output_dir": "o", **sections.pop("run", {})}
    return {"run": run, **sections}


@pytest.mark.parametrize("name", sorted(RUN_KEYS))
def test_another_value_of_every_key_is_applied_refused_or_reported(name, caplog):
    before, now = config(run={name: "one"}), config(run={name: "two"})
    if name in ("evaluations", "valid_splits"):
        value = {"a": {"task": "t"}} if name == "evaluations" else ["val"]
        before, now = config(), config(run={name: value})
    effect = RUN_KEYS[name]
    for inside in (False, True):
        caplog.clear()
        if effect == resume_keys.REFUSED or (effect == resume_keys.AT_EDGE and inside):
            with pytest.raises(CheckpointError, match=rf"run\.{name}="):
                check_changes(before, now, inside, "x.pth")
            continue
        found = check_changes(before, now, inside, "x.pth")
        reported = effect != resume_keys.LAUNCH
        assert [change.key for change in found] == [f"run.{name}"] * reported
        assert (f"run.{name}: " in caplog.text) == reported


def test_options_of_tasks_and_keys_of_other_sections_are_reported(caplog):
    options = set(run_fields()) - set(RUN_KEYS)
    assert options
    for name in options:
        assert changes(config(), config(run={name: 3}))[0].effect == resume_keys.APPLIED
    before = config(
        model={"arch": "a", "lora": {"rank": 1}, "pretrained": None}, datasets={"d": {"n": 1}}
    )
    now = config(
        model={"arch": "a", "lora": {"rank": 2}, "pretrained": "w"}, datasets={"d": {"n": 2}}
    )
    found = {change.key: change.effect for change in changes(before, now)}
    assert found == {
        "datasets.d.n": resume_keys.APPLIED,
        "model.lora.rank": resume_keys.APPLIED,
        "model.pretrained": resume_keys.KEPT,
    }


def test_equal_values_of_other_types_and_defaults_are_no_change():
    before = config(run={"seed": 1, "test_splits": ["a"], "init_lr": 1e-4})
    now = config(run={"seed": 1.0, "test_splits": ("a",), "beta2": 0.999})
    assert changes(before, now) == []


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_other_options_of_the_optimiser_are_used(tiny, optimizer):
    changed = {"weight_decay": 0.9} | ({"momentum": 0.5} if optimizer == "sgd" else {"beta2": 0.9})
    tiny.runner("a", optimizer=optimizer, max_steps=3).train()
    rest = {"optimizer": optimizer, "max_steps": 4, "resume_ckpt_path": "auto", **changed}
    runner = tiny.runner("b", **rest)
    runner.train()
    groups = load_checkpoint_file(tiny.path / "b/checkpoint_last.pth")["optimizer"]["param_groups"]
    assert max(group["weight_decay"] for group in groups) == 0.9
    if optimizer == "sgd":
        assert {group["momentum"] for group in groups} == {0.5}
    else:
        assert {group["betas"] for group in groups} == {(0.9, 0.9)}
    (row,) = tiny.rows("b", "resume")
    assert {c["key"] for c in row["changed"]} == {f"run.{k}" for k in (*changed, "max_steps")}


@pytest.mark.parametrize("decay", [0.0, 0.05])
def test_a_decay_may_be_switched_on_and_off(tiny, decay):
    tiny.runner("a", weight_decay=decay, max_steps=3).train()
    tiny.runner("b", weight_decay=0.05 - decay, max_steps=4, resume_ckpt_path="auto").train()


def test_a_seed_changes_at_an_epochs_edge_only(tiny):
    tiny.runner("edge", max_epoch=1).train()
    tiny.runner("on", max_epoch=2, seed=9, resume_ckpt_path="auto").train()
    tiny.runner("cut", max_steps=3).train()
    path = str(tiny.path / "cut/checkpoint_last.pth")
    with pytest.raises(CheckpointError, match=r"inside an epoch[\s\S]*run\.seed=9"):
        tiny.runner("no", max_steps=4, seed=9, resume_ckpt_path=path).train()


def test_another_selection_of_the_best_begins_anew(tiny):
    tiny.runner("a", max_epoch=1).train()
    runner = tiny.runner("b", max_epoch=2, agg_mode="min", resume_ckpt_path="auto")
    runner.checkpoints.resume()
    assert runner.state.best_metric is None


def test_a_state_of_other_groups_is_a_checkpoint_error(tiny):
    tiny.runner("a", max_steps=3).train()
    runner = tiny.runner("b", max_steps=4, lr_multipliers={"head.weight": 0.5})
    path = tiny.path / "a/checkpoint_last.pth"
    runner.parts.run_cfg.resume_ckpt_path = str(path)
    with pytest.raises(CheckpointError, match=r"run\.lr_multipliers"):
        runner.train()
    stored = load_checkpoint_file(path)["optimizer"]
    stored["param_groups"] = stored["param_groups"][:1]
    fresh = tiny.runner("c", lr_multipliers={"head.weight": 0.5}).parts.optimizer
    with pytest.raises(CheckpointError, match="parameter groups"), own_options(fresh, path):
        fresh.load_state_dict(stored)
