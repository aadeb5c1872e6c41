"""LAVIS' functions that build models, processors and data sets by name."""

from __future__ import annotations

import inspect

import pytest
import torch

from lavis.common.errors import CheckpointError, ConfigError, DependencyError
from lavis.datasets.builders import dataset_zoo, load_dataset
from lavis.models import load_model, load_model_and_preprocess, load_preprocess, model_zoo
from lavis.models.zoo import BaseProcessor
from lavis.processors import BlipCaptionProcessor, load_processor
from lavis.processors.point_processors import PointProcessor


def arguments(function) -> dict:
    """Return {argument: default}."""
    return {name: p.default for name, p in inspect.signature(function).parameters.items()}


def test_signatures_are_those_of_lavis():
    none = inspect.Parameter.empty
    names = {"name": none, "model_type": none, "is_eval": False, "device": "cpu"}
    assert arguments(load_model) == names | {"checkpoint": None}
    assert arguments(load_model_and_preprocess) == names
    assert arguments(load_preprocess) == {"config": none}
    assert arguments(load_processor) == {"name": none, "cfg": None}
    expected = {"name": none, "cfg_path": None, "vis_path": None, "data_type": None}
    assert arguments(load_dataset) == expected


def test_zoos_list_what_is_registered():
    zoo = dict(model_zoo)
    assert zoo["point_blip"] == ["pretrain", "bricks"]
    assert len(model_zoo) == sum(map(len, zoo.values()))
    assert "point_blip_llm" in str(model_zoo)
    assert "Architectures" in str(model_zoo)
    assert "bricks_qa" in dataset_zoo.get_names()
    assert dataset_zoo.dataset_zoo["objaverse_caption"] == ["default"]


def test_a_model_and_its_processors_are_built_by_name(tmp_path):
    model, points, texts = load_model_and_preprocess("point_blip", "bricks", is_eval=True)
    assert not model.training
    assert points.keys() == texts.keys() == {"train", "eval"}
    assert isinstance(points["eval"], PointProcessor)
    cloud = torch.rand(2000, 6).numpy()
    assert points["eval"](cloud).shape == (1024, 6)  # points of the bricks' recipes
    assert texts["eval"]("A Brick 2 x 4.") == "a brick 2 x 4"
    state = {name: tensor + 0.5 for name, tensor in model.state_dict().items()}
    torch.save({"model": state}, tmp_path / "whole.pth")
    loaded = load_model("point_blip", "bricks", checkpoint=str(tmp_path / "whole.pth"))
    assert loaded.training
    assert torch.equal(loaded.itm_head.weight, state["itm_head.weight"])
    torch.save({"model": {"itm_head.bias": state["itm_head.bias"]}}, tmp_path / "part.pth")
    with pytest.raises(CheckpointError, match="vision_proj"):
        load_model("point_blip", "bricks", checkpoint=str(tmp_path / "part.pth"))


def test_preprocess_sections_give_the_named_processors():
    section = {"eval": {"name": "blip_caption", "max_words": 2}}
    for key in ("vis_processor", "point_processor"):
        points, texts = load_preprocess({key: {"eval": {"name": "point_eval"}}})
        assert isinstance(points["eval"], PointProcessor)
        assert isinstance(points["train"], BaseProcessor)
        assert isinstance(texts["eval"], BaseProcessor)
    _, texts = load_preprocess({"text_processor": section})
    assert isinstance(texts["eval"], BlipCaptionProcessor)
    assert texts["eval"]("One two three") == "one two"


@pytest.mark.parametrize(
    ("load", "name", "hint"),
    [
        (lambda n: load_model(n, "any"), "point_blib", "point_blip"),
        (load_processor, "blip_captions", "blip_caption"),
        (load_dataset, "bricks_captions", "bricks_caption"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(load, name, hint):
    with pytest.raises(ConfigError, match=f"Did you mean '{hint}'"):
        load(name)


def test_unknown_types_and_data_types_are_refused():
    with pytest.raises(ConfigError, match="Did you mean 'bricks'"):
        load_model("point_blip", "brick")
    with pytest.raises(ConfigError, match="images"):
        load_dataset("bricks_caption", vis_path="x", data_type="images")


@pytest.mark.parametrize("name", ["blip2_opt", "albef_vqa", "pnp_vqa"])
def test_a_stock_model_gives_one_clear_error(name):
    with pytest.raises(DependencyError, match=f"{name}.*today's libraries"):
        load_model(name, "any")


def test_a_stock_processor_that_is_replaced_gives_one_clear_error():
    with pytest.raises(DependencyError, match=r"lavis/README\.md"):
        load_processor("blip_image_eval")
