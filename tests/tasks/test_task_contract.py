"""Every registered task: options, needed abilities, construction for a named evaluation."""

from __future__ import annotations

import dataclasses
import json
import typing
from fnmatch import fnmatchcase
from pathlib import Path
from types import SimpleNamespace

import pytest
from lavis.common.registry import registry
from omegaconf import OmegaConf

from lavis.common.errors import ConfigError
from lavis.config.run_schema import RUN_SCHEMA, UNSET, run_fields, validate_run
from lavis.models.abilities import ABILITIES, JointEmbedder, Reranker, can, check_abilities
from lavis.tasks.options import TaskOptions, WritingOptions
from lavis.tasks.point_task import PointTask

# Other tests register tasks of their own.
TASKS = sorted(
    name
    for name in registry.list_tasks()
    if registry.get_task_class(name).__module__.startswith("lavis.tasks.")
)
OPTIONS = sorted(
    {registry.get_task_class(name).options_class for name in TASKS}, key=lambda o: o.__name__
)
FIELDS = [
    pytest.param(kind, name, id=f"{kind.__name__}.{name}")
    for kind in OPTIONS
    for name in kind.schema()
]
RUN = {"task": "t", "output_dir": "o", "max_epoch": 1}


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_built_from_a_run_section_with_options_of_its_evaluation(name):
    kind = registry.get_task_class(name)
    assert issubclass(kind, PointTask)
    plain = kind(OmegaConf.create({"seed": 1}))
    assert plain.options == kind.options_class()
    overlaid = kind(OmegaConf.create({"seed": 1, "controls": ["no_size"], "corruptions": "noise"}))
    assert overlaid.options.controls == ("no_size",)
    assert overlaid.options.corruptions == ("noise",)
    for method in ("before_evaluation", "evaluation", "after_evaluation", "train_step"):
        assert callable(getattr(plain, method))
    assert (
        kind.valid_step is not PointTask.valid_step or kind.evaluation is not PointTask.evaluation
    )
    assert kind.score is not PointTask.score


@pytest.mark.parametrize("name", TASKS)
def test_needed_abilities_are_known_and_name_their_key(name):
    needed = registry.get_task_class(name)(OmegaConf.create({})).needed_abilities()
    assert all(ability in ABILITIES for ability in needed)
    assert all(key.startswith("run.") for key in needed.values())
    able = SimpleNamespace(abilities=tuple(needed))
    check_abilities(able, needed, name)
    for ability in needed:
        others = tuple(other for other in needed if ability not in other.__mro__)
        with pytest.raises(ConfigError, match=ability.__name__):
            check_abilities(SimpleNamespace(abilities=others), needed, name)


@pytest.mark.parametrize("name", TASKS)
def test_a_model_class_without_the_abilities_is_refused_before_it_is_built(name):
    task = registry.get_task_class(name)(OmegaConf.create({}))
    for arch in registry.list_models():
        if not registry.get_model_class(arch).__module__.startswith("lavis.models."):
            continue
        model = registry.get_model_class(arch)
        if all(can(model, ability) for ability in task.needed_abilities()):
            continue
        cfg = SimpleNamespace(model_cfg=OmegaConf.create({"arch": arch}))  # nothing to build from
        with pytest.raises(ConfigError, match=f"lacks the ability(.|\n)*{task.name}"):
            task.build_model(cfg)


@pytest.mark.parametrize("kind", OPTIONS, ids=lambda kind: kind.__name__)
def test_options_are_frozen_documented_and_their_defaults_are_valid(kind):
    assert issubclass(kind, TaskOptions)
    assert kind.__doc__
    options = kind()
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.controls = ("no_size",)
    given = {k: v for k, v in dataclasses.asdict(options).items() if v is not None}
    assert (
        kind.read({k: list(v) if isinstance(v, tuple) else v for k, v in given.items()}) == options
    )
    assert all(len(field.help) > 5 and field.default is UNSET for field in kind.schema().values())
    assert set(typing.get_type_hints(kind)) == set(kind.schema())


@pytest.mark.parametrize(("kind", "name"), FIELDS)
def test_an_option_is_a_key_of_the_run_section_with_the_same_limits_in_every_task(kind, name):
    own, field = kind.schema()[name], run_fields()[name]
    assert (own.kind, own.choices, own.low, own.high) == (
        *(field.kind, field.choices, field.low, field.high),
    )
    assert name not in {f.name for f in RUN_SCHEMA}
    assert name not in validate_run(RUN, "x")  # absent unless given: the task has the default


@pytest.mark.parametrize(("kind", "name"), FIELDS)
def test_an_option_refuses_another_type_and_values_out_of_range(kind, name):
    field = kind.schema()[name]
    wrong = [{"strings": 3, "str": True}.get(field.kind, "what?")]
    if field.low > float("-inf"):
        wrong.append(field.low - 1)
    if field.choices:
        wrong.append(["never"] if field.kind == "strings" else "never")
    for value in wrong:
        with pytest.raises(ConfigError, match=rf"run\.{name}"):
            validate_run({**RUN, name: value}, "x")
        with pytest.raises(ConfigError, match=rf"run\.{name}"):
            kind.read({name: value})


def test_a_misspelt_option_is_refused_with_the_nearest_key():
    with pytest.raises(ConfigError, match="'k_test'"):
        validate_run({**RUN, "k_tets": 3}, "x")


def test_decoding_names_the_arguments_of_generate():
    options = WritingOptions.read({"num_beams": 3, "max_len": 9, "prompt": 5})
    assert options.decoding() == {
        "num_beams": 3,
        "max_length": 9,
        "min_length": 1,
        "top_p": None,
        "temperature": 1.0,
        "prompt": "5",
    }


RESULTS = [
    pytest.param(content, id=f"{path.stem}-{name}")
    for path in sorted((Path(__file__).parents[1] / "golden/values/results").glob("*.json"))
    for name, content in json.loads(path.read_text()).items()
    if name.endswith("_metrics")
]


@pytest.mark.parametrize("result", RESULTS)
def test_every_metric_of_a_result_file_is_declared_by_its_task(result):
    """METEOR and SPICE are null without Java, and may not select the best checkpoint."""
    task = registry.get_task_class(result["task"])(OmegaConf.create({}))
    known = task.possible_metrics(SimpleNamespace(abilities=(JointEmbedder, Reranker)))
    given = [name for name, entry in result["metrics"].items() if entry["value"] is not None]
    undeclared = [n for n in given if not any(fnmatchcase(n, pattern) for pattern in known)]
    assert not undeclared
    unused = {name for name in known if "*" not in name} - set(result["metrics"])
    contrast_alone = {name for name in unused if "_ptc/" in name}
    assert unused - contrast_alone <= {"loss"}


@pytest.mark.parametrize(
    ("name", "options", "added"),
    [
        ("point_classification", {"linear_probe": True}, "linear_probe/top_1"),
        ("point_classification", {"few_shot": ["5"]}, "few_shot_5/top_1"),
        ("point_retrieval", {"extra_directions": ["object_to_object"]}, "object_to_object/"),
        ("point_captioning", {"java_metrics": True}, "meteor"),
        ("point_qa", {"qa_mode": "choice"}, "choice_accuracy"),
        ("point_qa", {"answer_styles": ["leo"]}, "leo/"),
    ],
)
def test_options_add_metrics(name, options, added):
    kind, model = registry.get_task_class(name), SimpleNamespace(abilities=())
    plain, more = (kind(OmegaConf.create(given)).possible_metrics(model) for given in ({}, options))
    assert not any(metric.startswith(added) for metric in plain)
    assert any(metric.startswith(added) for metric in more)
