"""A part of the model that finds nothing in a checkpoint is an error, unless allowed by name."""

from __future__ import annotations

import pytest
import torch
from omegaconf import OmegaConf

from lavis.common.errors import CheckpointError, ConfigError
from lavis.models.point_blip_models.config import PointBlipConfig
from lavis.models.point_blip_models.point_blip import PointBlip
from lavis.models.weights.parts import loadable_parts


@pytest.fixture
def section(tiny_bert, tiny_encoder_cfg) -> dict:
    return {
        "point_encoder": tiny_encoder_cfg,
        "qformer_bert": tiny_bert,
        "num_query_token": 4,
        "qformer_width": 24,
        "embed_dim": 16,
    }


@pytest.fixture
def model(section) -> PointBlip:
    return PointBlip(PointBlipConfig(**section, freeze_point_encoder=False))


def write(model: PointBlip, path, without: str = "nothing") -> str:
    """Write a checkpoint in GPT4Point's layout without a part."""
    state = {}
    for name, tensor in model.state_dict().items():
        if name == "qformer.query_tokens":
            state["query_tokens"] = tensor + 1
        elif not name.startswith(without):
            name = name.replace("qformer.", "Qformer.").replace("vision_proj", "point_proj")
            state[name] = tensor + 1 if tensor.is_floating_point() else tensor
    torch.save({"model": state}, path)
    return str(path)


def test_parts_are_modules_and_parameters_without_the_encoder(model):
    assert set(loadable_parts(model)) == {
        *("pc_projection", "qformer", "qformer.cls", "vision_proj", "text_proj", "itm_head"),
    }


def test_a_gpt4point_file_brings_every_head(model, section, tmp_path):
    path = write(model, tmp_path / "stage1.pth")
    loaded = PointBlip.from_config(OmegaConf.create(section | {"finetuned": path}))
    for head in ("vision_proj", "text_proj", "itm_head"):
        expected = getattr(model, head).weight + 1
        assert torch.equal(getattr(loaded, head).weight, expected)


@pytest.mark.parametrize("part", ["vision_proj", "itm_head", "qformer.cls", "pc_projection"])
@pytest.mark.parametrize("key", ["pretrained", "finetuned"])
def test_a_part_without_weights_is_named_and_can_be_allowed(model, section, tmp_path, part, key):
    section[key] = write(model, tmp_path / "stage1.pth", without=part)
    with pytest.raises(CheckpointError, match=rf"may_start_fresh: \[{part}\]"):
        PointBlip.from_config(OmegaConf.create(section))
    allowed = OmegaConf.create(section | {"may_start_fresh": [part]})
    assert PointBlip.from_config(allowed).loaded_checkpoint


def test_a_part_that_does_not_exist_cannot_be_allowed(model, section, tmp_path):
    section |= {"finetuned": write(model, tmp_path / "a.pth"), "may_start_fresh": ["itm_heads"]}
    with pytest.raises(ConfigError, match="itm_head"):
        PointBlip.from_config(OmegaConf.create(section))


def test_load_checkpoint_wants_every_part(model, tmp_path):
    model.load_checkpoint(write(model, tmp_path / "whole.pth"))
    model._found.clear()
    with pytest.raises(CheckpointError, match="text_proj"):
        model.load_checkpoint(write(model, tmp_path / "part.pth", without="text_proj"))
