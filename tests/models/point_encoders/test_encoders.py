"""What is particular to one encoder: published sizes, balls, interpolation, vision backbones."""

from __future__ import annotations

import pytest
import torch

from lavis.common.errors import ConfigError
from lavis.models.point_encoders import build_point_encoder
from lavis.models.point_encoders.balls import ball_query, interpolate

PUBLISHED_COUNTS = {
    1: 5_100_768,
    2: 13_346_880,
    3: 25_954_368,
    4: 32_326_080,
    5: 72_070_336,
    6: 171_262_144,
}


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
    ],
)
def test_bad_keys_are_refused(keys, message):
    with pytest.raises(ConfigError, match=message):
        build_point_encoder(keys)


def test_balls_hold_the_first_points_and_repeat_the_first():
    xyz = torch.tensor([[[0.0, 0, 0], [3, 0, 0], [0.1, 0, 0], [0.2, 0, 0], [3.1, 0, 0]]])
    index = ball_query(xyz[:, :2], xyz, radius=0.5, k=4)
    assert index.tolist() == [[[0, 2, 3, 0], [1, 4, 1, 1]]]
    assert ball_query(xyz[:, :1], xyz, 0.5, 2).tolist() == [[[0, 2]]]
    assert ball_query(xyz[:, :1], xyz, 9.0, 7).tolist() == [[[0, 1, 2, 3, 4, 0, 0]]]


def test_interpolation_keeps_known_points_and_weighs_by_distance():
    xyz = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [0, 9, 0], [9, 9, 9]]])
    features = torch.tensor([[[0.0], [1.0], [0.0], [50.0]]])
    carried = interpolate(torch.tensor([[[0.0, 0, 0], [0.5, 0, 0]]]), xyz, features)
    torch.testing.assert_close(carried[0, 0], torch.zeros(1), atol=1e-6, rtol=0)
    assert 0.49 < carried[0, 1].item() < 0.5
    one = interpolate(xyz, xyz[:, :1], features[:, 1:2])
    torch.testing.assert_close(one, torch.ones(1, 4, 1))


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


@pytest.mark.parametrize("kind", ["vit", "dinov2", "clip_vision_model", "siglip_vision_model"])
def test_transformers_vision_backbones(kind, make_cloud):
    backbone = {
        "model_type": kind,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    sizes = {"num_group": 6, "group_size": 4, "encoder_dims": 8, "stem_dims": [8, 8, 8]}
    encoder = build_point_encoder({"name": "uni3d", "backbone": backbone, **sizes}).train()
    output = encoder(make_cloud())
    assert output.tokens.shape == (3, 6, 16)
    output.global_feature.sum().backward()
    assert all(p.grad is not None for p in encoder.parameters())
