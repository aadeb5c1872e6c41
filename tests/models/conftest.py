"""A tiny model of every registered arch, and a batch that all of them read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from lavis.common.registry import registry
from omegaconf import OmegaConf


@pytest.fixture
def model_sections(tiny_bert, tiny_llama, tiny_encoder_cfg) -> dict[str, dict[str, Any]]:
    """The `model` section of a tiny model of each arch."""
    encoder = {"point_encoder": tiny_encoder_cfg}
    qformer = {"qformer_bert": tiny_bert, "num_query_token": 4, "point_encoder_weights": None}
    stage1 = encoder | qformer | {"embed_dim": 16, "freeze_point_encoder": False}
    llm = {"llm": tiny_llama, "llm_dtype": "float32"}
    stage2 = encoder | qformer | llm | {"draft_length": 2, "freeze_point_encoder": False}
    contrastive = encoder | llm | {"hidden_dim": 16, "point_encoder_weights": None}
    bind = encoder | {"text_teacher": tiny_bert, "embed_dim": 32}
    return {
        "mixcon3d": encoder | {"text_teacher": tiny_bert, "embed_dim": 32, "views": "avg_proj"},
        "point_blip": stage1,
        "point_blip_feature_extractor": stage1,
        "point_blip_llm": stage2,
        "point_blip_opt": stage2,
        "point_bind": bind,
        "point_llm": {
            "llm": tiny_llama,
            "joint": bind | {"arch": "point_bind", "model_type": "bricks"},
        },
        "point_llm_contrastive": contrastive,
        "ulip_text": encoder | {"text_tower": tiny_bert, "text_sources": {"caption": 1.0}},
    }


@pytest.fixture
def build_model(model_sections) -> Callable[..., torch.nn.Module]:
    """Return a function (arch, seed) -> tiny model."""

    def make(name: str, seed: int = 0) -> torch.nn.Module:
        torch.manual_seed(seed)
        return registry.get_model_class(name).from_config(OmegaConf.create(model_sections[name]))

    return make


@pytest.fixture
def batch(point_cloud, captions) -> dict[str, Any]:
    """Four objects with every field that a registered model reads."""
    return {
        "point_cloud": point_cloud,
        "box_size": torch.rand(4, 3) + 0.5,
        "image_embeds": torch.randn(4, 2, 32),
        "image_embeds_mask": torch.ones(4, 2, dtype=torch.bool),
        "audio_embeds": torch.randn(4, 32),
        "audio_embeds_mask": torch.ones(4, dtype=torch.bool),
        "text_input": captions,
        "caption": captions,
        "instance_id": list("abcd"),
    }
