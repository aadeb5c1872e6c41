"""LAVIS' functions that build models and their processors by name, with LAVIS' signatures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from lavis.common.errors import ConfigError, nearest
from lavis.common.registry import registry
from lavis.config.sources import load_defaults, load_yaml
from lavis.processors.base_processor import BaseProcessor
from lavis.stock import registered

Processors = dict[str, Any]  # "train" and "eval"
# Types whose name has such a part are trained on these captions, all others as published.
DATA_OF_TYPES = (("bricks", "bricks_caption"), ("smollm2-135m", "bricks_caption"))
PUBLISHED_DATA = "objaverse_caption"


def load_model(
    name: str,
    model_type: str,
    is_eval: bool = False,
    device: str | torch.device = "cpu",
    checkpoint: str | None = None,
) -> Any:
    """Build a model from the default yaml of one of its types.

    Args:
        name: registered arch, e.g. `point_blip`; see `model_zoo`.
        model_type: one of the arch's types, e.g. `bricks`.
        is_eval: put the model in evaluation mode.
        device: where to put it; on the CPU its weights become float32.
        checkpoint: a file that holds every trained part of the model.

    Raises:
        ConfigError: unknown name or type, or the model loads its checkpoints by its yaml alone.
        DependencyError: a stock model that cannot be imported on today's libraries.
        CheckpointError: the checkpoint does not fit.
    """
    model = registered("model", name).from_pretrained(model_type=_known_type(name, model_type))
    if checkpoint is not None:
        model.load_checkpoint(checkpoint)
    if is_eval:
        model.eval()
    if torch.device(device).type == "cpu":
        model = model.float()
    return model.to(device)


def load_preprocess(config: Mapping[str, Any]) -> tuple[Processors, Processors]:
    """Build the processors of a `preprocess` section.

    Args:
        config: `point_processor` (LAVIS: `vis_processor`) and `text_processor`, each with `train`
            and `eval`. What is absent becomes a BaseProcessor, which changes nothing.

    Returns:
        Processors of clouds and of texts, each {"train", "eval"}.
    """
    points = config.get("point_processor") or config.get("vis_processor") or {}
    texts = config.get("text_processor") or {}
    return _processors(points), _processors(texts)


def load_model_and_preprocess(
    name: str, model_type: str, is_eval: bool = False, device: str | torch.device = "cpu"
) -> tuple[Any, Processors, Processors]:
    """Build a model (see `load_model`) and its processors.

    They are those of its default yaml's `preprocess`, or of the data that the recipes of this type
    train on.

    Returns:
        Model, processors of clouds, processors of texts, each {"train", "eval"}.
    """
    model = load_model(name, model_type, is_eval, device)
    default = load_yaml(type(model).default_config_path(model_type), "model_type")
    preprocess = default.get("preprocess") or _data_section(model_type)
    return (model, *load_preprocess(preprocess))


def _data_section(model_type: str) -> Mapping[str, Any]:
    """Return the default section of the captions that a type is trained on."""
    name = next((data for part, data in DATA_OF_TYPES if part in model_type), PUBLISHED_DATA)
    path = registry.get_builder_class(name).default_config_path()
    return load_defaults(path, name).datasets[name]


def _known_type(name: str, model_type: str) -> str:
    types = registered("model", name).PRETRAINED_MODEL_CONFIG_DICT
    if model_type not in types:
        what = f"unknown type {model_type!r} of the model {name!r}.{nearest(model_type, types)}"
        raise ConfigError(what, where="model_type", expected=f"one of {sorted(types)}")
    return model_type


def _processors(section: Mapping[str, Any]) -> Processors:
    return {mode: _processor(section.get(mode)) for mode in ("train", "eval")}


def _processor(cfg: Mapping[str, Any] | None) -> Any:
    if cfg is None:
        return BaseProcessor()
    return registered("processor", cfg["name"]).from_config(cfg)


class ModelZoo:
    """The registered models and their types; printing lists them, `len` counts the types."""

    @property
    def model_zoo(self) -> dict[str, list[str]]:
        """{arch: its types}."""
        models = registry.mapping["model_name_mapping"]
        return {name: list(cls.PRETRAINED_MODEL_CONFIG_DICT) for name, cls in models.items()}

    def __str__(self) -> str:
        rule = "=" * 50
        rows = [f"{name:<30} {', '.join(types)}" for name, types in self]
        return "\n".join([rule, f"{'Architectures':<30} Types", rule, *rows])

    def __iter__(self) -> Iterator[tuple[str, list[str]]]:
        return iter(self.model_zoo.items())

    def __len__(self) -> int:
        return sum(map(len, self.model_zoo.values()))


model_zoo = ModelZoo()
