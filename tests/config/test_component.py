"""Component configurations: defaults, differences, checks; and those of every registered model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest
import yaml
from lavis.common.registry import registry

import lavis  # noqa: F401  (registers the models)
from lavis.common.errors import ConfigError
from lavis.config import ComponentConfig, ModelConfig, option
from lavis.config.run_config import RunConfig
from lavis.models.language.llm import LoraOptions


@dataclass(frozen=True)
class SmallConfig(ComponentConfig):
    width: int = option(8, low=1)
    rate: float | None = option(None, low=0, high=1)
    pooling: str = option("cls", choices=("cls", "mean"))
    weights: Mapping[str, float] = option({"a": 1.0}, low=0)
    sizes: Sequence[int] = (1, 2)
    name: str | None = None
    trained: bool = False
    lora: LoraOptions | None = None


def test_defaults_are_plain_yaml_values():
    assert SmallConfig.defaults()["sizes"] == [1, 2]
    assert SmallConfig.defaults()["weights"] == {"a": 1.0}
    assert yaml.safe_load(yaml.safe_dump(SmallConfig.defaults())) == SmallConfig.defaults()


def test_a_section_states_differences():
    config = SmallConfig.read({"width": "16", "rate": 1, "lora": {"rank": 4}}, "model")
    assert (config.width, config.rate, config.pooling) == (16, 1.0, "cls")
    assert config.lora == LoraOptions(rank=4)
    assert SmallConfig.complete({"sizes": (3,)}) == SmallConfig.defaults() | {"sizes": [3]}


@pytest.mark.parametrize(
    ("section", "part"),
    [
        ({"widht": 1}, "Did you mean 'width'"),
        ({"width": 0}, "1 to inf"),
        ({"width": 1.5}, "model.width"),
        ({"width": None}, "model.width"),
        ({"rate": 2}, "0 to 1"),
        ({"rate": "often"}, "model.rate"),
        ({"pooling": "meen"}, "Did you mean 'mean'"),
        ({"weights": {"a": -1}}, "model.weights"),
        ({"weights": [1]}, "model.weights"),
        ({"sizes": 3}, "model.sizes"),
        ({"sizes": ["x"]}, "model.sizes[0]"),
        ({"trained": 1}, "model.trained"),
        ({"lora": {"ranks": 1}}, "Did you mean 'rank'"),
        ({"lora": 3}, "a mapping"),
    ],
)
def test_what_a_key_cannot_be_is_refused_by_name(section, part):
    with pytest.raises(ConfigError) as caught:
        SmallConfig.read(section, "model")
    assert part in str(caught.value)


def test_defaults_are_not_shared():
    SmallConfig.defaults()["weights"]["a"] = 5.0
    assert SmallConfig().weights == {"a": 1.0}


MODEL_TYPES = [
    (arch, model_type)
    for arch in registry.list_models()
    if hasattr(registry.get_model_class(arch), "config_class")
    for model_type in registry.get_model_class(arch).PRETRAINED_MODEL_CONFIG_DICT
]


@pytest.mark.parametrize(("arch", "model_type"), MODEL_TYPES)
def test_model_yamls_state_differences_only(arch, model_type):
    """A value equal to the default says nothing and goes stale."""
    model_class = registry.get_model_class(arch)
    config_class: type[ModelConfig] = model_class.config_class
    with open(model_class.default_config_path(model_type)) as file:
        section = yaml.safe_load(file)["model"]
    encoder = section.get("point_encoder", {"name": "point_bert"})
    defaults = config_class.complete({"point_encoder": {"name": encoder["name"]}})
    section.pop("arch")
    inner = {f"point_encoder.{k}" for k, v in encoder.items() if defaults["point_encoder"][k] == v}
    same = {key for key, value in section.items() if defaults[key] == value} | inner
    assert same <= {"point_encoder.name"}
    assert config_class.read(config_class.complete(section)).pretrained is None


def test_every_model_of_ours_has_a_configuration():
    own = [
        arch
        for arch in registry.list_models()
        if registry.get_model_class(arch).__module__.startswith("lavis.models.")
    ]
    assert own
    assert [
        arch for arch in own if not hasattr(registry.get_model_class(arch), "config_class")
    ] == []


def test_every_key_is_documented():
    for arch, _ in MODEL_TYPES:
        config_class = registry.get_model_class(arch).config_class
        text = "".join(base.__doc__ or "" for base in config_class.__mro__)
        undocumented = [key for key in config_class.defaults() if f"    {key}: " not in text]
        assert undocumented == [], arch


def test_a_former_key_is_refused_with_its_replacement(repo_root):
    recipe = repo_root / "lavis/projects/bricks/train/demo_stage1.yaml"
    with pytest.raises(ConfigError) as caught:
        RunConfig.from_file(recipe, ["model.chunk_size=8"])
    assert "run.accumulate" in str(caught.value)
