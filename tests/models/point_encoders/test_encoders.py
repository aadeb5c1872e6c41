"""What is particular to one encoder: published sizes, reach of attention, vision backbones."""

from __future__ import annotations

import pytest
import torch

from lavis.common.errors import ConfigError
from lavis.models.point_encoders import build_point_encoder

PUBLISHED_COUNTS = {
    1: 5_100_768,
    2: 13_346_880,
    3: 25_954_368,
    4: 32_326_080,
    5: 72_070_336,
    6: 171_262_144,
}
TINY_VIT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}
PLAIN = ["vit", "deit", "beit", "dinov2", "clip_vision_model", "siglip_vision_model"]


@pytest.mark.parametrize("scaling", PUBLISHED_COUNTS)
def test_ppat_has_the_published_number_of_parameters(scaling):
    with torch.device("meta"):
        encoder = build_point_encoder({"name": "ppat", "scaling": scaling})
    assert sum(p.numel() for p in encoder.parameters()) == PUBLISHED_COUNTS[scaling]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"name": "ppat", "scaling": 7}, r"\[1, 2, 3, 4, 5, 6\]"),
        ({"name": "ppat", "radius": 0}, "positive number"),
        ({"name": "i2p_mae", "num_heads": 5}, "divisor of encoder_dims"),
        ({"name": "i2p_mae", "local_radius": [0.1]}, "one per level"),
        ({"name": "i2p_mae", "num_groups": [8, 16, 4]}, "no level larger"),
        ({"name": "pointnet2", "variant": "mrg"}, "ssg"),
        ({"name": "pointnet2", "num_groups": [16]}, "positive integers"),
        ({"name": "point_bert", "num_points": 0}, "positive integer"),
        ({"name": "uni3d", "backbone": {"model_type": "no_such"}}, "cannot run"),
        ({"name": "uni3d", "backbone": {"model_type": "swin", "embed_dim": 12}}, "cannot run"),
        (
            {"name": "uni3d", "backbone": {"model_type": "convnext", "depths": [1] * 4}},
            "cannot run",
        ),
        ({"name": "uni3d", "backbone": {**TINY_VIT, "model_type": "dinov3_vit"}}, "cannot run"),
    ],
)
def test_bad_keys_are_refused(keys, message):
    with pytest.raises(ConfigError, match=message):
        build_point_encoder(keys)


def test_a_level_of_i2p_mae_attends_within_its_radius_only():
    keys = {"num_groups": [12], "group_sizes": [4], "encoder_dims": [12], "encoder_depths": [1]}
    keys |= {"local_radius": [0.5], "num_heads": 2, "stem_dims": [8, 8, 8]}
    encoder = build_point_encoder({"name": "i2p_mae", **keys}).eval()
    generator = torch.Generator().manual_seed(0)
    near = torch.rand(1, 20, 3, generator=generator) * 0.2
    cloud = torch.cat([near, near + 5], dim=1)
    before = encoder(cloud)
    cloud[:, 20:] += 1.0
    after = encoder(cloud)
    kept = before.centers[0].amax(-1) < 1
    moved = after.centers[0].amax(-1) < 1
    torch.testing.assert_close(before.tokens[0, kept], after.tokens[0, moved])


@pytest.mark.parametrize("kind", PLAIN)
def test_transformers_vision_backbones(kind, make_cloud):
    sizes = {"num_group": 6, "group_size": 4, "encoder_dims": 8, "stem_dims": [8, 8, 8]}
    backbone = {"model_type": kind, **TINY_VIT}
    encoder = build_point_encoder({"name": "uni3d", "backbone": backbone, **sizes}).train()
    output = encoder(make_cloud())
    assert output.tokens.shape == (3, 6, 16)
    output.global_feature.sum().backward()
    assert all(p.grad is not None for p in encoder.parameters())
