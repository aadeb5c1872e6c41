"""Point-BERT: shapes, determinism, gradients, modes, colour, bad input."""

from __future__ import annotations

import logging

import pytest
import torch

from lavis.common.errors import ConfigError, ShapeError
from lavis.models.point_encoders import (
    PointBertConfig,
    build_point_encoder,
    freeze,
    point_encoder_names,
    register_point_encoder,
)
from lavis.models.point_encoders.base import PointEncoder
from lavis.models.point_encoders.grouping import nearest_groups


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("channels", [3, 6])
def test_shapes_and_contract(make_encoder, make_cloud, batch_size, channels):
    encoder = make_encoder(point_dims=channels)
    output = encoder(make_cloud(batch_size, channels=channels))
    assert output.tokens.shape == (batch_size, encoder.num_tokens, encoder.embed_dim)
    assert output.centers.shape == (batch_size, encoder.num_tokens, 3)
    assert output.global_feature.shape == (batch_size, encoder.global_dim)
    assert output.cls_token.shape == (batch_size, encoder.embed_dim)
    assert encoder.in_channels == channels
    assert torch.equal(output.global_feature[:, : encoder.embed_dim], output.cls_token)


@pytest.mark.parametrize("num_points", [12, 13, 200])
def test_centers_are_points_of_the_cloud(make_encoder, make_cloud, num_points):
    cloud = make_cloud(2, num_points)
    centers = make_encoder()(cloud).centers
    assert torch.equal(centers[:, 0], cloud[:, 0])  # sampling starts at point 0
    assert (centers[:, :, None] == cloud[:, None]).all(-1).any(-1).all()
    assert len(centers[0].unique(dim=0)) == 12


def test_batch_of_one_equals_the_row_of_a_batch(make_encoder, make_cloud):
    encoder, cloud = make_encoder(), make_cloud()
    whole = encoder(cloud)
    for row in range(3):
        single = encoder(cloud[row : row + 1])
        for field in ("tokens", "global_feature"):
            expected = getattr(whole, field)[row : row + 1]
            torch.testing.assert_close(getattr(single, field), expected, rtol=1e-5, atol=1e-5)


def test_eval_is_deterministic(make_encoder, make_cloud):
    encoder, cloud = make_encoder(drop_path_rate=0.5, random_start=True), make_cloud()
    assert torch.equal(encoder(cloud).tokens, encoder(cloud).tokens)


def test_random_start_only_in_training(make_encoder, make_cloud):
    cloud = make_cloud(8)
    fixed, random = make_encoder().train(), make_encoder(random_start=True).train()
    torch.manual_seed(1)
    first = fixed.group(cloud).center[:, 0]  # [B,3]
    assert torch.equal(first, cloud[:, 0])
    assert not torch.equal(random.group(cloud).center[:, 0], first)
    assert torch.equal(random.eval().group(cloud).center[:, 0], first)


def test_order_of_points_does_not_matter_beyond_the_start(make_encoder, make_cloud):
    encoder, cloud = make_encoder(), make_cloud()
    order = torch.cat([torch.zeros(1).long(), 1 + torch.randperm(60)])
    torch.testing.assert_close(
        encoder(cloud[:, order]).tokens, encoder(cloud).tokens, rtol=1e-4, atol=1e-5
    )


def test_every_parameter_gets_a_gradient(make_encoder, make_cloud):
    encoder = make_encoder(point_dims=6).train()
    output = encoder(make_cloud(channels=6))
    output.global_feature.square().sum().backward()
    without = {
        name
        for name, parameter in encoder.named_parameters()
        if parameter.grad is None or not torch.isfinite(parameter.grad).all()
    }
    assert not without
    assert all(p.grad.abs().sum() > 0 for n, p in encoder.named_parameters() if "weight" in n)


def test_gradient_reaches_the_cloud(make_encoder, make_cloud):
    cloud = make_cloud().requires_grad_()
    make_encoder()(cloud).tokens.sum().backward()
    assert cloud.grad.abs().sum() > 0


def test_gradient_checkpointing_gives_the_same_gradients(make_encoder, make_cloud):
    gradients = []
    for use in (False, True):
        encoder = make_encoder(use_grad_checkpoint=use, drop_path_rate=0.4).train()
        torch.manual_seed(5)
        encoder(make_cloud()).tokens.square().sum().backward()
        gradients.append([p.grad for p in encoder.parameters()])
    for plain, recomputed in zip(*gradients):
        torch.testing.assert_close(plain, recomputed)


def test_drop_path_changes_training_only(make_encoder, make_cloud):
    encoder, cloud = make_encoder(drop_path_rate=0.5), make_cloud(16)
    torch.testing.assert_close(encoder(cloud).tokens, make_encoder()(cloud).tokens)
    encoder.blocks.train()
    torch.manual_seed(0)
    assert not torch.allclose(encoder(cloud).tokens, encoder(cloud).tokens)


def test_position_is_added_before_every_block(make_encoder):
    blocks = make_encoder().blocks
    tokens, position = torch.rand(2, 5, 24), torch.rand(2, 5, 24)
    expected = blocks.blocks[1](blocks.blocks[0](tokens + position) + position)
    torch.testing.assert_close(blocks(tokens, position), expected)


def test_indices_survive_rotation_and_scaling(make_cloud):
    cloud = make_cloud()
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=torch.manual_seed(2))).Q
    before, after = (nearest_groups(c, 12, 8, 0) for c in (cloud, 0.7 * cloud @ rotation))
    assert torch.equal(before.center_index, after.center_index)
    assert torch.equal(before.neighbor_index, after.neighbor_index)


def test_frozen_encoder_stays_in_eval(make_encoder, make_cloud):
    encoder, cloud = freeze(make_encoder(drop_path_rate=0.5)), make_cloud()
    system = torch.nn.Sequential(encoder).train()
    assert system.training
    assert encoder.frozen
    assert not any(module.training for module in encoder.modules())
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    output = encoder(cloud)
    assert not output.tokens.requires_grad
    assert torch.equal(output.tokens, encoder(cloud).tokens)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_training_updates_batch_norm_when_not_frozen(make_encoder, make_cloud):
    encoder = make_encoder().train()
    before = encoder.encoder.second_conv[1].running_mean.clone()
    encoder(make_cloud())
    assert not torch.equal(encoder.encoder.second_conv[1].running_mean, before)


@pytest.mark.parametrize(("missing", "value"), [("zeros", 0.0), ("half", 0.5), ("ones", 1.0)])
def test_missing_color_is_filled(make_encoder, make_cloud, missing, value):
    encoder, cloud = make_encoder(point_dims=6, missing_color=missing), make_cloud()
    colored = torch.cat([cloud, torch.full_like(cloud, value)], dim=-1)
    assert torch.equal(encoder(cloud).tokens, encoder(colored).tokens)
    assert (encoder.group(cloud).neighborhood[..., 3:] == value).all()


def test_color_is_used_or_said_to_be_unused(make_encoder, make_cloud, caplog):
    cloud = make_cloud(channels=6)
    gray = torch.cat([cloud[..., :3], torch.zeros(3, 61, 3)], dim=-1)
    colored = make_encoder(point_dims=6)
    assert not torch.allclose(colored(cloud).tokens, colored(gray).tokens)
    plain = make_encoder(point_dims=3)
    with caplog.at_level(logging.WARNING):
        assert torch.equal(plain(cloud).tokens, plain(gray).tokens)
    assert sum("colour" in record.message for record in caplog.records) == 1


def test_legacy_color_bug_feeds_absolute_xyz(make_encoder, make_cloud):
    encoder, cloud = make_encoder(point_dims=6, legacy_color_bug=True), make_cloud(channels=6)
    neighborhood, center = encoder.group(cloud)
    absolute = neighborhood[..., :3] + center[:, :, None]
    torch.testing.assert_close(neighborhood[..., 3:], absolute)
    correct = make_encoder(point_dims=6).group(cloud).neighborhood
    assert not torch.allclose(neighborhood[..., 3:], correct[..., 3:])


def test_half_precision_and_strided_inputs(make_encoder, make_cloud):
    encoder, cloud = make_encoder(), make_cloud().half()
    expected = encoder(cloud.float()).tokens
    wide = torch.zeros(3, 61, 9)
    wide[..., 2:5] = cloud
    for view in (cloud, cloud.double(), wide[..., 2:5]):
        torch.testing.assert_close(encoder(view).tokens, expected)
    rough = encoder.bfloat16()(cloud).tokens
    assert rough.dtype == torch.bfloat16
    assert (rough.float() - expected).abs().mean() < 0.1


def test_autocast_groups_in_float32(make_encoder, make_cloud):
    encoder, cloud = make_encoder(), make_cloud()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = encoder(cloud)
    assert torch.equal(output.centers, encoder(cloud).centers)
    assert torch.isfinite(output.tokens).all()


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((61, 3), r"\[B,N,3\]"),
        ((2, 61, 4), r"\[B,N,6\]"),
        ((0, 61, 3), "empty batch"),
        ((2, 0, 3), "no points"),
    ],
)
def test_bad_shapes_are_refused(make_encoder, shape, message):
    with pytest.raises(ShapeError, match=message):
        make_encoder()(torch.rand(shape))


@pytest.mark.parametrize(("channel", "value"), [(1, float("nan")), (5, float("inf"))])
def test_values_that_are_not_finite_are_refused(make_encoder, make_cloud, channel, value):
    cloud = make_cloud(channels=6)
    cloud[2, 4, channel] = value
    with pytest.raises(ShapeError, match=r"batch rows \[2\]"):
        make_encoder(point_dims=6)(cloud)


def test_integer_clouds_are_refused(make_encoder, make_cloud):
    with pytest.raises(ShapeError, match="float"):
        make_encoder()(make_cloud().long())


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"trans_dims": 8}, "Did you mean 'trans_dim'"),
        ({"num_heads": 5}, "divisor of trans_dim"),
        ({"point_dims": 4}, "3 .xyz. or 6"),
        ({"depth": 0}, "positive integer"),
        ({"depth": True}, "positive integer"),
        ({"stem_dims": [8, 8]}, "three positive"),
        ({"stem_dims": 8}, "three positive"),
        ({"drop_path_rate": 1.0}, r"\[0, 1\)"),
        ({"missing_color": "white"}, "zeros"),
        ({"random_start": "yes"}, "true or false"),
        ({"legacy_color_bug": True}, "point_dims: 6"),
        ({"name": "point_bart"}, "Did you mean 'point_bert'"),
    ],
)
def test_bad_keys_are_refused(make_encoder, keys, message):
    with pytest.raises(ConfigError, match=message):
        make_encoder(**keys)


def test_defaults_are_the_published_sizes():
    config = PointBertConfig()
    assert (config.trans_dim, config.depth, config.num_heads) == (384, 12, 6)
    assert (config.num_group, config.group_size, config.encoder_dims) == (512, 32, 256)
    assert config.stem_dims == (128, 256, 512)


def test_a_dict_config_builds_an_encoder():
    omegaconf = pytest.importorskip("omegaconf")
    keys = {"name": "ulip_point_bert", "depth": 1, "trans_dim": 24, "stem_dims": [8, 8, 8]}
    encoder = build_point_encoder(omegaconf.OmegaConf.create(keys))
    assert encoder.config.stem_dims == (8, 8, 8)


def test_a_name_cannot_be_taken_twice():
    assert {"point_bert", "ulip_point_bert"} <= set(point_encoder_names())
    with pytest.raises(ConfigError, match="taken"):

        @register_point_encoder("point_bert")
        class Other(PointEncoder):
            pass
