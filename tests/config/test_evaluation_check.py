"""Named evaluations are checked before anything is built."""

from __future__ import annotations

import pytest

import lavis  # noqa: F401  (registers everything)
from lavis.common.errors import ConfigError
from lavis.config.run_config import RunConfig
from lavis.tasks import setup_task

RECIPE = "lavis/projects/bricks/eval/demo_stage1.yaml"
PREFIX = "run.evaluations.retrieval"
OTHERS = ["classification", "answers", "classification_held_out"]


def test_the_demo_recipe_names_its_evaluations(repo_root):
    section = RunConfig.from_file(repo_root / RECIPE).run_cfg
    assert section.task is None
    assert list(section.evaluations) == ["retrieval", *OTHERS]
    assert section.evaluations.retrieval.k_test == 8


def test_null_drops_an_evaluation_of_the_recipe(repo_root):
    section = RunConfig.from_file(repo_root / RECIPE, [f"{PREFIX}=null"]).run_cfg
    assert list(section.evaluations) == OTHERS
    with pytest.raises(ConfigError, match=r"run\.evaluations"):
        RunConfig.from_file(repo_root / RECIPE, [f"{PREFIX}=3"])


def test_without_a_task_the_first_evaluation_counts_with_its_own_options(repo_root):
    dropped = [f"run.evaluations.{name}=null" for name in ("retrieval", "classification")]
    task = setup_task(RunConfig.from_file(repo_root / RECIPE, dropped))
    assert (task.name, task.mode) == ("point_qa", "neighbours")


def test_numbers_of_a_command_line_take_their_type(repo_root):
    section = RunConfig.from_file(repo_root / RECIPE, [f"{PREFIX}.k_test=4", f"{PREFIX}.every=2"])
    assert section.run_cfg.evaluations.retrieval.k_test == 4


@pytest.mark.parametrize(
    ("option", "key"),
    [
        (f"{PREFIX}.k_tset=3", f"{PREFIX}.k_tset"),
        (f"{PREFIX}.k_test=-1", f"{PREFIX}.k_test"),
        (f"{PREFIX}.task=point_retreival", f"{PREFIX}.task"),
        (f"{PREFIX}.task=point_captioning", f"{PREFIX}.k_test"),
        (f"{PREFIX}.dataset=bricks", f"{PREFIX}.dataset"),
        (f"{PREFIX}.split=null", f"{PREFIX}.split"),
        (f"{PREFIX}.every=-1", f"{PREFIX}.every"),
        ("run.test_splits=[retrieval]", PREFIX),
        ("run.best=retreival/top_1", "run.best"),
        ("run.best=retrieval", "run.best"),
        ("run.evaluations=null", "run.task"),
        ("run.evaluate=false", "run.task"),
    ],
)
def test_what_cannot_be_scored_is_refused_with_its_key(repo_root, option, key):
    with pytest.raises(ConfigError) as caught:
        RunConfig.from_file(repo_root / RECIPE, [option])
    assert key in str(caught.value)


def test_a_model_without_the_ability_is_refused_with_the_evaluation(repo_root):
    from lavis.common.registry import registry

    from lavis.runners.evaluations import check_named_abilities

    cfg = RunConfig.from_file(repo_root / "lavis/projects/bricks/eval/demo_stage2.yaml")
    with pytest.raises(ConfigError, match=r"run\.evaluations\.qa\.qa_mode"):
        check_named_abilities(cfg.run_cfg, registry.get_model_class("point_blip"))
