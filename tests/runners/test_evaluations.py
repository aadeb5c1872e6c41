"""Named evaluations of a run, on the tiny model."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import torch
from lavis.common.registry import registry

from lavis.common.checkpoint import load_checkpoint_file
from lavis.common.errors import CheckpointError, ConfigError


@pytest.fixture
def named(tiny, monkeypatch):
    """Register a task for named evaluations; return what each evaluation's task was given."""
    built = []

    class NamedTask(tiny.Task):
        @classmethod
        def setup_task(cls, cfg):
            task = cls()
            task.run_cfg = cfg.run_cfg
            built.append(task)
            return task

        def after_evaluation(self, **kwargs):
            metrics = super().after_evaluation(**kwargs)
            return metrics | {"beams": self.run_cfg.get("num_beams", 1), "size": self.size(kwargs)}

        @staticmethod
        def size(kwargs):
            return len(kwargs["dataset"])

    monkeypatch.setitem(registry.mapping["task_name_mapping"], "tiny_named", NamedTask)
    return built


def place(split, dataset="data0", **options):
    return {"task": "tiny_named", "dataset": dataset, "split": split, **options}


def scored(tiny, job="job"):
    return [(row["split"], row["epoch"]) for row in tiny.rows(job, "eval")]


def test_each_evaluation_has_its_own_data_options_and_epochs(tiny, named):
    runner = tiny.runner(
        max_epoch=3,
        valid_splits=[],
        test_splits=[],
        evaluations={
            "often": place("val"),
            "seldom": place("test", num_beams=4, every=2),
            "last": place("train", every=0),
        },
    )
    results = runner.train()
    during = [("often", 0), ("often", 1), ("seldom", 1), ("often", 2), ("seldom", 2)]
    assert scored(tiny) == [*during, ("often", "best"), ("seldom", "best"), ("last", "best")]
    assert {name: metrics["size"] for name, metrics in results.items()} == {
        "often": 7,
        "seldom": 5,
        "last": 22,
    }
    assert results["seldom"]["beams"] == 4
    assert results["often"]["beams"] == 1


def test_named_evaluations_run_beside_the_splits_of_the_task(tiny, named):
    runner = tiny.runner(max_epoch=1, evaluations={"own": place("test")})
    results = runner.train()
    assert scored(tiny) == [("val", 0), ("own", 0), ("test", "best"), ("own", "best")]
    assert results["own"]["agg_metrics"] == results["test"]["agg_metrics"]


def test_best_names_the_evaluation_and_metric_that_select(tiny, named):
    options = {"evaluations": {"own": place("test")}, "max_epoch": 3}
    runner = tiny.runner(**options, best="own/size", agg_mode="min")
    runner.train()
    assert (runner.state.best_metric, runner.state.best_epoch) == (5, 0)
    best = load_checkpoint_file(tiny.path / "job/checkpoint_best.pth")
    assert best["state"]["global_step"] == 5
    default = tiny.runner("default", **options)
    default.train()
    values = [r["agg_metrics"] for r in tiny.rows("default", "eval") if r["split"] == "val"]
    assert default.state.best_metric == max(values)


def test_an_evaluate_only_run_needs_no_task_of_its_own(tiny, named):
    splits = {"valid_splits": [], "test_splits": []}
    options = {"task": None, "evaluate": True, **splits}
    runner = tiny.runner(**options, evaluations={"a": place("val"), "b": place("test")})
    assert set(runner.evaluate(skip_reload=True)) == {"a", "b"}


def test_an_unknown_split_is_refused_before_training(tiny, named):
    runner = tiny.runner(evaluations={"own": place("tset")})
    with pytest.raises(ConfigError, match=r"run\.evaluations\.own\.split") as caught:
        runner.train()
    assert "Did you mean 'test'" in str(caught.value)
    assert runner.parts.task.trained_ids == []


def test_averaged_weights_are_scored_per_evaluation(tiny, named):
    runner = tiny.runner(max_epoch=1, ema_decay=0.5, evaluations={"own": place("test")})
    assert {"own", "own_ema", "test", "test_ema"} == set(runner.train())


def test_evaluating_a_checkpoint_scores_its_average_where_the_recipe_asks(tiny, named):
    options = {"max_epoch": 1, "evaluations": {"own": place("test")}}
    during = tiny.runner("raw", **options).train(), tiny.runner(ema_decay=0.5, **options).train()
    again = {"evaluate": True, "valid_splits": [], "test_splits": []} | options
    for decay, job, names in (
        (0.5, "job", {"own", "own_ema"}),
        (None, "job", {"own"}),
        (0.5, "raw", {"own"}),
    ):
        last = str(tiny.path / job / "checkpoint_last.pth")
        found = tiny.runner("again", ema_decay=decay, resume_ckpt_path=last, **again)
        found = found.evaluate(skip_reload=True)
        assert set(found) == names
    scores = tiny.runner(
        "again", ema_decay=0.5, resume_ckpt_path=str(tiny.path / "job/checkpoint_last.pth"), **again
    ).evaluate(skip_reload=True)
    for name in ("own", "own_ema"):
        assert scores[name]["agg_metrics"] == during[1][name]["agg_metrics"]


def test_a_checkpoint_of_another_space_is_not_evaluated(tiny, named):
    options = {"max_epoch": 1, "evaluations": {"own": place("test")}}
    model = tiny.Model()
    model.space = "minilm@mean"
    tiny.runner(model=model, **options).train()
    model.space = "openclip/ViT-bigG-14"
    last = str(tiny.path / "job" / "checkpoint_last.pth")
    runner = tiny.runner("again", model=model, evaluate=True, resume_ckpt_path=last, **options)
    with pytest.raises(CheckpointError, match="another teacher"):
        runner.evaluate(skip_reload=True)


def test_inputs_that_an_evaluation_lacks_are_refused_before_training(tiny, named, monkeypatch):
    def check_inputs(task, model, dataset):
        assert isinstance(model, tiny.Model)
        raise ConfigError(f"no views of {len(dataset)} objects")

    monkeypatch.setattr(registry.get_task_class("tiny_named"), "check_inputs", check_inputs, False)
    runner = tiny.runner(evaluations={"own": place("test")})
    with pytest.raises(ConfigError, match="no views of 5 objects"):
        runner.train()
    assert runner.parts.task.trained_ids == []


def test_at_most_seven_frames_from_the_command_to_the_loss(tiny, monkeypatch):
    """From `train.main` to a model's forward, torch's own frames excluded."""
    frames = []
    root = Path(__file__).resolve().parents[2]

    class Watched(tiny.Model):
        def forward(self, samples):
            if self.training and not frames:
                own = [f for f in inspect.stack() if Path(f.filename).is_relative_to(root)]
                own = [f for f in own if "site-packages" not in f.filename]
                frames.extend(f.function for f in own)
            return super().forward(samples)

    runner = tiny.runner(model=Watched(), max_steps=1)
    torch.manual_seed(0)
    runner.train()
    ours = frames[: frames.index("train") + 1]
    # `main` and `run` of train.py call `PointRunner.train`.
    assert len(ours) + 2 <= 7, frames


@pytest.mark.parametrize(
    ("key", "options"),
    [
        ("run.best", {"best": "own/top_2"}),
        ("run.best", {"best": "val/bleu_4"}),
        ("run.agg_metric", {"agg_metric": "top1"}),
    ],
)
def test_a_metric_that_the_evaluation_does_not_report_is_refused_before_training(
    tiny, named, monkeypatch, key, options
):
    for kind in (tiny.Task, registry.mapping["task_name_mapping"]["tiny_named"]):
        monkeypatch.setattr(kind, "possible_metrics", lambda *_: ("top_1", "loss_*"), raising=False)
    runner = tiny.runner(evaluations={"own": place("val")}, **options)
    with pytest.raises(ConfigError, match=rf"{key}(.|\n)*top_1, loss_\*"):
        runner.train()
    assert runner.state.global_step == 0
    runner = tiny.runner("job2", evaluations={"own": place("val")}, best="own/loss_point_text")
    runner.evaluations.check()


def test_several_data_sets_of_a_split_report_their_mean_alone(tiny, named, monkeypatch):
    monkeypatch.setattr(tiny.Task, "possible_metrics", lambda *_: ("top_1",), raising=False)
    runner = tiny.runner(sizes=(22, 22), best="val/top_1")
    runner.evaluations.check()
    runner.parts.datasets["data1"]["val"] = tiny.Data(7, 50, 0.0)
    with pytest.raises(ConfigError, match=r"run\.best(.|\n)*expected: agg_metrics"):
        runner.evaluations.check()
