"""Configurations: what is read, what is refused, and what the message says."""

from __future__ import annotations

import pytest
from lavis.common.registry import registry
from omegaconf import OmegaConf

import lavis  # noqa: F401  (registers the roots)
from lavis.common.errors import ConfigError
from lavis.config.run_config import RunConfig
from lavis.config.run_schema import RUN_SCHEMA, UNSET, validate_run
from lavis.config.sources import split_options
from lavis.datasets.builders import BaseDatasetBuilder
from lavis.models import BaseModel
from lavis.processors import BaseProcessor
from lavis.runners import runner  # noqa: F401
from lavis.tasks import BaseTask

MODEL_DEFAULTS = {
    "small": "model: {arch: cfg_test_arch, width: 8, rate: 0, encoder: {name: tiny, depth: 2}}",
    "large": "model: {arch: cfg_test_arch, width: 64, rate: 0, encoder: {name: tiny, depth: 9}}",
}
DATASET_DEFAULT = """
datasets:
  cfg_test_caption:
    data_type: points
    build_info: {storage: a.npy, limit: {}, num_points: 1024}
"""
RECIPE = """
model:
  arch: cfg_test_arch
  model_type: small
datasets:
  cfg_test_caption:
    point_processor: {train: {name: cfg_test_processor}}
run:
  task: cfg_test_task
  init_lr: 1e-4
  max_epoch: 2
  output_dir: output/x
"""


@registry.register_model("cfg_test_arch")
class ConfigTestModel(BaseModel):
    PRETRAINED_MODEL_CONFIG_DICT = {}  # noqa: RUF012


@registry.register_builder("cfg_test_caption")
class ConfigTestBuilder(BaseDatasetBuilder):
    DATASET_CONFIG_DICT = {}  # noqa: RUF012


@registry.register_task("cfg_test_task")
class ConfigTestTask(BaseTask):
    pass


@registry.register_processor("cfg_test_processor")
class ConfigTestProcessor(BaseProcessor):
    pass


@pytest.fixture
def read(tmp_path):
    """Return a function that writes a recipe and reads it: read(options, recipe=...)."""
    for name, text in MODEL_DEFAULTS.items():
        path = tmp_path / f"model_{name}.yaml"
        path.write_text(text)
        ConfigTestModel.PRETRAINED_MODEL_CONFIG_DICT[name] = str(path)
    (tmp_path / "dataset.yaml").write_text(DATASET_DEFAULT)
    ConfigTestBuilder.DATASET_CONFIG_DICT["default"] = str(tmp_path / "dataset.yaml")

    def read(*options, recipe=RECIPE):
        path = tmp_path / "recipe.yaml"
        path.write_text(recipe)
        return RunConfig.from_file(path, list(options))

    return read


def refused(read, *options, recipe=RECIPE):
    """Return the message of the refusal."""
    with pytest.raises(ConfigError) as caught:
        read(*options, recipe=recipe)
    return str(caught.value)


def test_recipe_defaults_and_options_are_merged_in_that_order(read):
    cfg = read("run.init_lr=3e-4", "model.encoder.depth=5")
    assert cfg.run_cfg.init_lr == 3e-4
    assert cfg.run_cfg.max_epoch == 2
    assert cfg.run_cfg.runner == "runner_point"
    assert (cfg.model_cfg.width, cfg.model_cfg.encoder.depth) == (8, 5)
    assert cfg.model_cfg.encoder.name == "tiny"
    assert cfg.datasets_cfg.cfg_test_caption.build_info.num_points == 1024
    assert cfg.datasets_cfg.cfg_test_caption.point_processor.train.name == "cfg_test_processor"


@pytest.mark.parametrize(
    "options",
    [
        ["run.seed=7", "run.init_lr=0.5"],
        ["run.seed", "7", "run.init_lr", "0.5"],
        ["run.seed=7", "run.init_lr", "0.5"],
        ["run.seed", "7", "run.init_lr=0.5"],
    ],
)
def test_every_form_of_options_counts(read, options):
    cfg = read(*options)
    assert (cfg.run_cfg.seed, cfg.run_cfg.init_lr) == (7, 0.5)


def test_option_values_may_hold_an_equals_sign_and_lists():
    assert split_options(["run.prompt=a=b"]) == ["run.prompt=a=b"]
    assert split_options(None) == []


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["run.seed"], "has no value"),
        (["run.seed", "run.max_epoch=3"], "has no value"),
        (["run.seed=1", "run.seed=2"], "given twice"),
        (["rnu.seed=1"], "Did you mean 'run'"),
        (["seed=1"], "unknown section"),
        (["run=1"], "one key below a section"),
        (["--run.seed=1"], "unknown section"),
        (["run.seed=[1"], "cannot be read"),
        (["run.sede=1"], "Did you mean 'seed'"),
    ],
)
def test_options_that_would_be_dropped_are_refused(read, options, part):
    assert part in refused(read, *options)


def test_model_type_option_picks_the_default_yaml(read):
    assert read("model.model_type=large").model_cfg.encoder.depth == 9
    assert read("model.model_type", "large").model_cfg.width == 64


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["model.widht=4"], ["model.widht", "Did you mean 'width'", "model_small.yaml"]),
        (["model.encoder.dpeth=4"], ["model.encoder.dpeth", "Did you mean 'depth'"]),
        (["model.width=wide"], ["model.width", "whole number", "'wide'"]),
        (["model.encoder=4"], ["model.encoder", "mapping"]),
        (["model.arch=cfg_test_arhc"], ["Did you mean 'cfg_test_arch'"]),
        (["model.model_type=smal"], ["Did you mean 'small'"]),
        (["run.task=cfg_test_tsak"], ["Did you mean 'cfg_test_task'"]),
        (["run.runner=runner_pont"], ["Did you mean 'runner_point'"]),
        (["run.lr_sched=linear_cosine_lr"], ["linear_warmup_cosine_lr"]),
        (["run.device=gpu"], ["run.device", "auto, cpu, cuda"]),
        (["run.batch_size_train=0"], ["run.batch_size_train", "out of range"]),
        (["run.amp=1"], ["run.amp", "true or false"]),
        (["run.max_epoch=2.5"], ["run.max_epoch", "whole number"]),
        (["run.max_epoch=null"], ["run.max_epoch or run.max_steps"]),
        (["run.output_dir=null"], ["run.output_dir", "required"]),
        (["run.job_id=a/b"], ["run.job_id"]),
        (["run.min_len=9", "run.max_len=3"], ["min_len 9, max_len 3"]),
        (["run.min_lr=1"], ["min_lr exceeds init_lr"]),
        (["run.test_final_reason=why"], ["run.test_final_reason", "a training run"]),
        (["run.evaluate=true", "run.test_final_reason=' '"], ["run.test_final_reason", "--test"]),
        (["datasets.cfg_test_caption.build_info.num_pionts=4"], ["Did you mean 'num_points'"]),
        (["datasets.cfg_test_captoin.type=x"], ["Did you mean 'cfg_test_caption'"]),
        (["datasets.cfg_test_caption.type=tune"], ["one of default"]),
        (
            ["datasets.cfg_test_caption.point_processor.train.name=cfg_test_procesor"],
            ["Did you mean 'cfg_test_processor'"],
        ),
    ],
)
def test_refusals_name_the_key_and_the_nearest_spelling(read, options, parts):
    message = refused(read, *options)
    for part in parts:
        assert part in message, message


def test_numbers_written_as_text_become_numbers(read):
    cfg = read(recipe=RECIPE.replace("1e-4", '"1e-4"').replace("max_epoch: 2", 'max_epoch: "2"'))
    assert (cfg.run_cfg.init_lr, cfg.run_cfg.max_epoch) == (1e-4, 2)


def test_a_default_of_zero_takes_a_fraction(read):
    assert read("model.rate=0.25").model_cfg.rate == 0.25


def test_a_free_mapping_takes_any_key(read):
    cfg = read("datasets.cfg_test_caption.build_info.limit.train=16")
    assert cfg.datasets_cfg.cfg_test_caption.build_info.limit.train == 16


def test_another_component_brings_its_own_keys(read):
    cfg = read("model.encoder.name=other", "model.encoder.blocks=3")
    assert OmegaConf.to_container(cfg.model_cfg.encoder) == {"name": "other", "blocks": 3}
    assert read("model.encoder.name=tiny").model_cfg.encoder.depth == 2


def test_task_keys_stay_absent_unless_given(read):
    assert read().run_cfg.get("num_beams", 3) == 3
    assert read("run.num_beams=5").run_cfg.get("num_beams", 3) == 5


def test_duplicate_and_malformed_yaml_name_the_line(read):
    message = refused(read, recipe=RECIPE + "  max_epoch: 3\n")
    assert "max_epoch" in message
    assert f"line {RECIPE.count(chr(10)) + 1}" in message
    assert "line 3" in refused(read, recipe="model:\n  arch: [a\nrun: 3\n")


def test_missing_files_and_sections_are_named(read, tmp_path):
    (tmp_path / "stage1.yaml").write_text(RECIPE)
    with pytest.raises(ConfigError, match=r"Did you mean 'stage1\.yaml'"):
        RunConfig.from_file(tmp_path / "satge1.yaml")
    assert "'datasets' is missing" in refused(read, recipe="model: {arch: a}\nrun: {task: b}\n")
    assert "Did you mean 'model'" in refused(read, recipe=RECIPE.replace("model:", "modle:"))
    ConfigTestModel.PRETRAINED_MODEL_CONFIG_DICT["small"] = str(tmp_path / "gone.yaml")
    assert "gone.yaml" in refused(read)


def test_a_saved_config_reads_back_the_same(read, tmp_path):
    cfg = read("run.seed=11", "model.width=3", "run.lr_multipliers.head=0.1")
    cfg.run_cfg.rank, cfg.run_cfg.world_size = 1, 2  # a launch, not part of the recipe
    cfg.save(tmp_path / "config.yaml")
    again = RunConfig.from_file(tmp_path / "config.yaml").to_dict()
    expected = cfg.to_dict()
    expected["run"] |= {"rank": 0, "world_size": 1}
    assert again == expected
    assert OmegaConf.load(tmp_path / "config.yaml").run.lr_multipliers == {"head": 0.1}


def test_schema_defaults_satisfy_their_own_rules():
    run = {"task": "t", "output_dir": "o", "max_epoch": 1}
    defaults = {f.name: f.default for f in RUN_SCHEMA if f.default not in (None, UNSET)}
    assert validate_run({**defaults, **run}, "x") == validate_run(run, "x")
    assert len({field.name for field in RUN_SCHEMA}) == len(RUN_SCHEMA)


@pytest.mark.parametrize("field", [f for f in RUN_SCHEMA if f.kind != "str"], ids=lambda f: f.name)
def test_every_key_refuses_another_type(field):
    wrong = {"strings": 3, "factors": [1]}.get(field.kind, "what?")
    with pytest.raises(ConfigError, match=rf"run\.{field.name}"):
        validate_run({"task": "t", "output_dir": "o", "max_epoch": 1, field.name: wrong}, "x")


def test_recipes_of_stock_lavis_are_read(read):
    extra = (
        "  lr_sched: linear_warmup_cosine_lr\n  min_lr: 1e-5\n  warmup_lr: 1e-6\n"
        "  weight_decay: 0.05\n  warmup_steps: 5000\n  resume_ckpt_path: null\n  amp: True\n"
        "  world_size: 1\n  dist_url: env://\n  distributed: True\n  train_splits: [train]\n"
    )
    assert read(recipe=RECIPE + extra).run_cfg.warmup_lr == 1e-6
