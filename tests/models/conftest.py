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
    dense = {"name": "sparse_unet", "point_dims": 6, "voxel_size": 0.2, "widths": [8, 12, 16]}
    scenes = {"point_encoder": dense, "text_teacher": tiny_bert, "embed_dim": 32, "query_heads": 2}
    labelled = scenes | {"labels": ["wall", "chair", "table"]}
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
        "text4point": labelled | {"decoder_dim": 8, "pairs": 40},
        "text4point_detection": labelled | {"width": 16, "voting_points": 32, "proposals": 8},
        "text4point_instances": labelled | {"surfaces": ["wall"]},
        "text4point_instance_referring": labelled
        | {"width": 16, "depth": 1, "surfaces": ["wall"], "least_points": 1, "group_cell": 0.5},
        "text4point_referring": labelled | {"width": 16, "depth": 1, "tokens": 16},
        "text4point_segmentation": labelled,
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
        "image": torch.rand(4, 1, 3, 48, 64),
        "pixel_of_point": torch.arange(512).remainder(48).view(4, 64, 2),
        "audio_embeds": torch.randn(4, 32),
        "audio_embeds_mask": torch.ones(4, dtype=torch.bool),
        "semantic_label": torch.arange(64).remainder(4).sub(1).expand(4, 64),
        "instance_label": torch.arange(64).remainder(5).sub(1).expand(4, 64),
        "target_instance": torch.tensor([0, 1, 2, 3]),
        "boxes": [torch.tensor([[0.0, 0.0, 0.0, 2.0, 2.0, 2.0]])] * 4,
        "box_label": [torch.tensor([1])] * 4,
        "text_input": captions,
        "caption": captions,
        "instance_id": list("abcd"),
    }
