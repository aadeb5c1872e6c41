"""The training loop in one process."""

from __future__ import annotations

import math

import pytest
import torch

from lavis.common.checkpoint import load_checkpoint_file
from lavis.common.errors import CheckpointError, ConfigError, NonFiniteLossError


def weights(runner):
    return {name: value.clone() for name, value in runner.parts.module.state_dict().items()}


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


def test_training_learns_and_writes_its_files(tiny):
    runner = tiny.runner(max_epoch=6, init_lr=0.05, log_freq=2)
    metrics = runner.train()
    validations = [row["agg_metrics"] for row in tiny.rows(kind="eval") if row["split"] == "val"]
    assert len(validations) == 6
    assert validations[-1] > validations[0]
    assert metrics["test"]["n_scored"] == 5
    folder = tiny.path / "job"
    for name in ("config.yaml", "log.jsonl", "checkpoint_last.pth", "checkpoint_best.pth"):
        assert (folder / name).is_file()
    assert (folder / "result").is_dir()
    assert (tiny.path / "latest").readlink().name == "job"
    row = tiny.rows(kind="train")[0]
    assert {"loss", "loss_square", "temperature", "lr", "grad_norm", "objects_per_s"} <= row.keys()
    assert 0 <= row["data_wait_share"] <= 1


def test_the_latest_link_follows_a_second_run_in_one_process(tiny):
    tiny.runner("first", max_epoch=1)
    tiny.runner("second", max_epoch=1)
    assert (tiny.path / "latest").readlink().name == "second"


def test_logged_loss_is_not_divided_by_accumulation(tiny):
    tiny.runner("one", max_steps=1, batch_size_train=8, log_freq=1).train()
    tiny.runner("two", max_steps=1, batch_size_train=4, accum_grad_iters=2, log_freq=1).train()
    one, two = (tiny.rows(job, "train")[0] for job in ("one", "two"))
    assert math.isclose(one["loss"], two["loss"], rel_tol=1e-6)
    assert math.isclose(one["grad_norm"], two["grad_norm"], rel_tol=1e-5)


def test_accumulation_steps_the_last_partial_group(tiny):
    runner = tiny.runner(accum_grad_iters=2, max_epoch=1)  # 22 samples: 5 batches of 4, 3 steps
    runner.train()
    assert runner.state.global_step == 3
    assert [len(ids) for ids in runner.parts.task.trained_ids] == [4] * 5
    assert all(parameter.grad is None for parameter in runner.parts.module.parameters())


def test_accumulation_equals_the_larger_batch(tiny):
    large = tiny.runner("large", batch_size_train=8)
    small = tiny.runner("small", batch_size_train=4, accum_grad_iters=2)
    # 16 samples: both cut the epoch into the same two steps
    for runner in (large, small):
        runner.parts.datasets["data0"]["train"] = tiny.Data(16)
        runner.train()
    for name, value in weights(large).items():
        if name != "batches_seen":
            torch.testing.assert_close(weights(small)[name], value, rtol=0, atol=1e-6)


def test_frozen_parameters_stay_and_are_not_saved(tiny):
    runner = tiny.runner()
    before = weights(runner)
    runner.train()
    after = weights(runner)
    assert torch.equal(before["frozen.weight"], after["frozen.weight"])
    assert not torch.equal(before["head.weight"], after["head.weight"])
    saved = load_checkpoint_file(tiny.path / "job" / "checkpoint_last.pth")["model"]
    assert set(saved) == {"head.weight", "head.bias", "batches_seen"}


@pytest.mark.parametrize(("stop", "workers"), [(1, 0), (5, 0), (7, 0), (10, 0), (7, 2)])
def test_resume_is_bit_exact(tiny, stop, workers):
    # 22 samples, batches of 4: 5 steps per epoch; 5 and 10 are epoch edges.
    common = {"dropout": 0.5, "max_epoch": 3, "num_workers": workers, "save_freq": 1}
    whole = tiny.runner("whole", **common)
    whole.train()

    class Killed(Exception):
        pass

    class KilledTask(tiny.Task):
        def train_step(self, model, samples):
            if len(self.trained_ids) == stop:
                raise Killed
            return super().train_step(model, samples)

    cut = tiny.runner("cut", task=KilledTask(), **common)
    with pytest.raises(Killed):
        cut.train()
    rest = tiny.runner(
        "rest", resume_ckpt_path=str(tiny.path / "cut/checkpoint_last.pth"), **common
    )
    torch.manual_seed(99)  # the state must come from the checkpoint
    rest.train()
    assert_same(weights(whole), weights(rest))
    assert cut.parts.task.trained_ids + rest.parts.task.trained_ids == whole.parts.task.trained_ids
    ends = [
        load_checkpoint_file(tiny.path / job / "checkpoint_last.pth") for job in ("whole", "rest")
    ]
    assert ends[0]["state"] == ends[1]["state"]
    assert torch.equal(ends[0]["rng"][0]["torch"], ends[1]["rng"][0]["torch"])
    moments = [end["optimizer"]["state"][0]["exp_avg_sq"] for end in ends]
    assert torch.equal(*moments)


def test_resume_without_its_position_differs(tiny):
    """Negative control: the comparison above can fail."""
    whole = tiny.runner("whole", dropout=0.5)
    whole.train()
    cut = tiny.runner("cut", dropout=0.5, max_steps=7)
    cut.train()
    rest = tiny.runner(
        "rest", dropout=0.5, resume_ckpt_path=str(tiny.path / "cut/checkpoint_last.pth")
    )
    rest.checkpoints.resume()
    rest.state.step_in_epoch = 0
    rest.parts.run_cfg.resume_ckpt_path = None
    rest.train()
    assert not torch.equal(weights(whole)["head.weight"], weights(rest)["head.weight"])


def test_resuming_a_finished_run_only_evaluates(tiny):
    first = tiny.runner("first")
    metrics = first.train()
    again = tiny.runner("again", resume_ckpt_path="auto")
    assert again.train() == metrics
    assert again.parts.task.trained_ids == []
    assert again.state.best_metric == first.state.best_metric


def test_resume_auto_starts_anew_when_there_is_nothing(tiny):
    runner = tiny.runner(resume_ckpt_path="auto", max_epoch=1)
    runner.train()
    assert runner.state.global_step == 5


def test_a_finished_run_continues_when_the_plan_grows(tiny):
    tiny.runner("first", max_steps=3).train()
    longer = tiny.runner("longer", max_steps=8, resume_ckpt_path="auto")
    longer.train()
    assert len(longer.parts.task.trained_ids) == 5
    assert longer.state.global_step == 8


def test_resume_inside_an_epoch_refuses_other_batches(tiny):
    tiny.runner("first", max_steps=3).train()
    other = tiny.runner("other", batch_size_train=2, resume_ckpt_path="auto")
    with pytest.raises(CheckpointError, match="samples per step"):
        other.train()


def test_a_published_checkpoint_is_not_resumed(tiny, tmp_path):
    path = tmp_path / "published.pth"
    torch.save({"model": {}}, path)
    with pytest.raises(CheckpointError, match=r"model\.pretrained"):
        tiny.runner(resume_ckpt_path=str(path)).train()


def test_best_is_saved_at_the_first_validation_and_kept_when_worse(tiny):
    class Worsening(tiny.Task):
        scores = iter([-5.0, -1.0, -3.0, -2.0])

        def after_evaluation(self, **kwargs):
            if kwargs["split_name"] == "test":
                return super().after_evaluation(**kwargs)
            return {"agg_metrics": next(self.scores)}

    runner = tiny.runner(task=Worsening(), max_epoch=4)
    runner.train()
    assert (runner.state.best_metric, runner.state.best_epoch) == (-1.0, 1)
    best = load_checkpoint_file(tiny.path / "job/checkpoint_best.pth")
    assert best["state"]["global_step"] == 10
    assert torch.equal(best["model"]["head.weight"], weights(runner)["head.weight"])


@pytest.mark.parametrize("key", ["agg_metrics", "cider"])
def test_an_undefined_metric_selects_no_best_checkpoint(tiny, caplog, key):
    class Undefined(tiny.Task):
        def after_evaluation(self, **kwargs):
            return super().after_evaluation(**kwargs) | {key: None}

    runner = tiny.runner(task=Undefined(), agg_metric=key, max_epoch=1)
    runner.train()
    assert (runner.state.best_metric, runner.state.best_epoch) == (None, None)
    assert not (tiny.path / "job/checkpoint_best.pth").exists()
    assert f"{key} is null and selects no best checkpoint" in caplog.text
    assert key not in tiny.rows(kind="eval")[0]


def test_agg_metric_and_mode_select_best(tiny):
    runner = tiny.runner(agg_metric="n_scored", agg_mode="min", max_epoch=1)
    runner.train()
    assert runner.state.best_metric == 7
    with pytest.raises(Exception, match="n_scored"):
        tiny.runner("other", agg_metric="n_scroed", max_epoch=1).train()


def test_non_finite_loss_names_the_samples_and_keeps_the_weights(tiny):
    class Poisoned(tiny.Task):
        def train_step(self, model, samples):
            output = super().train_step(model, samples)
            factor = math.nan if len(self.trained_ids) == 3 else 1.0
            return {"loss": output["loss"] * factor}

    reference = tiny.runner("reference", max_epoch=1, max_steps=2, lr_sched="constant_lr")
    reference.train()
    runner = tiny.runner(task=Poisoned(), lr_sched="constant_lr")
    with pytest.raises(NonFiniteLossError) as caught:
        runner.train()
    for name in runner.parts.task.trained_ids[-1]:
        assert name in str(caught.value)
    assert "step 2" in str(caught.value)
    assert torch.equal(weights(reference)["head.weight"], weights(runner)["head.weight"])


def test_gradients_are_clipped(tiny):
    runner = tiny.runner(grad_clip=1e-3, max_steps=1, log_freq=1)
    norms = []
    runner.parts.optimizer.register_step_pre_hook(
        lambda optimizer, *_: norms.append(
            torch.nn.utils.get_total_norm(
                [p.grad for g in optimizer.param_groups for p in g["params"]]
            ).item()
        )
    )
    runner.train()
    assert norms[0] == pytest.approx(1e-3, rel=1e-3)
    assert tiny.rows(kind="train")[0]["grad_norm"] > 1e-2


def test_several_data_sets_give_batches_of_one_each(tiny):
    runner = tiny.runner(sizes=(22, 9), max_epoch=1)
    runner.train()
    origins = [{name.split("-")[0] for name in ids} for ids in runner.parts.task.trained_ids]
    assert all(len(origin) == 1 for origin in origins)
    assert sorted(o for origin in origins for o in origin) == ["0"] * 5 + ["1"] * 2


def test_evaluate_only_scores_without_training(tiny):
    trained = tiny.runner("trained")
    expected = trained.train()
    best = str(tiny.path / "trained/checkpoint_best.pth")
    runner = tiny.runner("scored", evaluate=True, resume_ckpt_path=best)
    assert runner.evaluate(skip_reload=True) == expected
    assert runner.parts.task.trained_ids == []


def test_same_seed_same_losses_and_another_seed_differs(tiny):
    losses = {}
    for job, seed in (("a", 1), ("b", 1), ("c", 2)):
        tiny.runner(job, seed=seed, log_freq=1).train()
        losses[job] = [row["loss"] for row in tiny.rows(job, "train")]
    assert losses["a"] == losses["b"] != losses["c"]


def test_unknown_split_and_prefix_are_refused(tiny):
    with pytest.raises(ConfigError, match="Did you mean 'train'"):
        tiny.runner(train_splits=["trian"]).train()
    with pytest.raises(ConfigError, match="Did you mean 'head'"):
        tiny.runner("other", lr_multipliers={"haed": 0.1}).train()
