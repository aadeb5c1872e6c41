"""One battery for every registered encoder: what any system may rely on."""

from __future__ import annotations

import logging

import pytest
import torch

from lavis.common.errors import ConfigError, ShapeError
from lavis.models.point_encoders import (
    build_point_encoder,
    freeze,
    load_encoder_checkpoint,
    point_encoder_names,
)

DENSE = ("pointnet2_unet", "sparse_unet")
WITHOUT_GROUPS = ("sparse_unet", "voxel_resnet")  # any number of points will do
RESIDUAL = [
    name
    for name in point_encoder_names()
    if not name.startswith("pointnet2") and name not in WITHOUT_GROUPS
]


def assert_same(ours: object, expected: object, tolerance: float = 1e-5) -> None:
    """Compare two outputs field by field."""
    for left, right in zip(ours, expected, strict=True):
        assert (left is None) == (right is None)
        if left is not None:
            torch.testing.assert_close(left, right, rtol=tolerance, atol=tolerance)


every_encoder = pytest.mark.parametrize("name", point_encoder_names())


def test_the_battery_covers_every_registered_encoder(small_sizes):
    assert set(small_sizes) == set(point_encoder_names())


@every_encoder
@pytest.mark.parametrize("channels", [3, 6])
def test_shapes_for_odd_sizes_and_a_batch_of_one(name, channels, make_cloud, make_small):
    encoder = make_small(name, point_dims=channels)
    whole = encoder(make_cloud(3, 61, channels))
    groups = encoder.num_tokens or 61
    assert whole.tokens.shape == (3, groups, encoder.embed_dim)
    assert whole.centers.shape == (3, groups, 3)
    assert whole.global_feature.shape == (3, encoder.global_dim)
    assert whole.cls_token is None or whole.cls_token.shape == (3, encoder.embed_dim)
    assert all(torch.isfinite(field).all() for field in whole if field is not None)
    single = encoder(make_cloud(3, 61, channels)[1:2])
    assert_same(single, [f if f is None else f[1:2] for f in whole])


@every_encoder
def test_eval_is_deterministic(name, make_cloud, make_small):
    encoder = make_small(name, random_start=True)
    for ours, again in zip(encoder(make_cloud()), encoder(make_cloud())):
        assert ours is None or torch.equal(ours, again)


@every_encoder
def test_order_matters_only_through_the_first_point(name, make_cloud, make_small):
    encoder, cloud = make_small(name), make_cloud()
    order = torch.cat([torch.zeros(1, dtype=torch.long), 1 + torch.randperm(60)])
    expected, ours = encoder(cloud), encoder(cloud[:, order])
    if encoder.num_tokens is None:  # a token for every point moves with its point
        expected = expected._replace(
            tokens=expected.tokens[:, order], centers=expected.centers[:, order]
        )
    assert_same(ours, expected, tolerance=1e-4)


@every_encoder
def test_centers_stay_in_the_axes_of_the_cloud(name, make_cloud, make_small):
    cloud = make_cloud()
    turned = make_small(name, up_axis="y_to_z")(cloud)
    x, y, z = cloud.unbind(-1)
    if name == "voxel_resnet":  # centres are those of cells: the cube's cells, turned back
        cells = make_small(name)(torch.stack([x, -z, y], dim=-1)).centers
        a, b, c = cells.unbind(-1)
        torch.testing.assert_close(turned.centers, torch.stack([a, c, -b], dim=-1))
    else:
        assert (turned.centers[:, :, None] == cloud[:, None, :, :3]).all(-1).any(-1).all()
    assert_same(
        turned._replace(centers=None),
        make_small(name)(torch.stack([x, -z, y], dim=-1))._replace(centers=None),
    )
    x, y, z = turned.centers.unbind(-1)
    mirrored = make_small(name, up_axis="swap_yz")(torch.stack([x, y, z], dim=-1))
    assert mirrored.centers.shape[0] == 3


@every_encoder
def test_every_parameter_gets_a_gradient(name, make_cloud, make_small):
    encoder = make_small(name).train()
    output = encoder(make_cloud())
    loss = output.tokens.square().sum() + output.global_feature.square().sum()
    loss.backward()
    without = [n for n, p in encoder.named_parameters() if p.grad is None]
    assert not without
    assert all(torch.isfinite(p.grad).all() for p in encoder.parameters())


@every_encoder
def test_a_frozen_encoder_stays_in_eval(name, make_cloud, make_small):
    encoder = freeze(make_small(name))
    torch.nn.Sequential(encoder).train()
    assert not any(module.training for module in encoder.modules())
    first, second = encoder(make_cloud()), encoder(make_cloud())
    assert not first.tokens.requires_grad
    assert torch.equal(first.tokens, second.tokens)


@every_encoder
def test_save_and_load(name, make_cloud, tmp_path, make_small, small_sizes):
    encoder = make_small(name)
    torch.save(encoder.state_dict(), tmp_path / "encoder.pt")
    other = build_point_encoder({"name": name, **small_sizes[name]}).eval()
    report = load_encoder_checkpoint(other, tmp_path / "encoder.pt")
    assert set(report.loaded) == set(encoder.state_dict())
    assert_same(other(make_cloud()), encoder(make_cloud()), tolerance=0.0)


@every_encoder
@pytest.mark.parametrize(("missing", "value"), [("zeros", 0.0), ("half", 0.5), ("ones", 1.0)])
def test_missing_color_is_filled(name, missing, value, make_cloud, make_small):
    encoder, cloud = make_small(name, point_dims=6, missing_color=missing), make_cloud()
    filled = torch.cat([cloud, torch.full_like(cloud, value)], dim=-1)
    assert_same(encoder(cloud), encoder(filled), tolerance=0.0)


@every_encoder
def test_few_points_are_repeated_with_one_warning(name, make_cloud, caplog, make_small):
    encoder, cloud = make_small(name), make_cloud(2, 5)
    with caplog.at_level(logging.WARNING):
        output = encoder(cloud)
        encoder(cloud)
    expected = 0 if name in WITHOUT_GROUPS else 1
    assert sum("resampled" in record.message for record in caplog.records) == expected
    assert torch.isfinite(output.tokens).all()
    assert output.tokens.shape[1] == (encoder.num_tokens or 5)


@every_encoder
def test_many_points_are_reduced_to_a_fixed_subset(name, make_cloud, caplog, make_small):
    if name in DENSE:
        with pytest.raises(ConfigError, match="every point"):
            make_small(name, num_points=40)
        return
    encoder = make_small(name, num_points=40)
    with caplog.at_level(logging.WARNING):
        first, second = encoder(make_cloud()), encoder(make_cloud())
    assert_same(first, second, tolerance=0.0)
    assert "61 points are resampled to 40" in caplog.text


@every_encoder
def test_bad_clouds_are_refused(name, make_cloud, make_small):
    encoder = make_small(name)
    broken = make_cloud()
    broken[1, 3, 0] = float("nan")
    for cloud in (torch.rand(2, 61, 4), torch.rand(61, 3), torch.rand(0, 61, 3), broken):
        with pytest.raises(ShapeError):
            encoder(cloud)


@every_encoder
def test_half_precision_and_strided_clouds(name, make_cloud, make_small):
    encoder, cloud = make_small(name), make_cloud().half()
    expected = encoder(cloud.float())
    wide = torch.zeros(3, 61, 9)
    wide[..., 2:5] = cloud
    for view in (cloud, wide[..., 2:5]):
        assert_same(encoder(view), expected)


@every_encoder
def test_misspelt_keys_are_refused(name, make_small):
    with pytest.raises(ConfigError, match="Did you mean 'up_axis'"):
        make_small(name, up_axes="y_to_z")
    with pytest.raises(ConfigError, match="y_to_z"):
        make_small(name, up_axis="up")


@pytest.mark.parametrize("name", RESIDUAL)
def test_checkpointing_and_drop_path(name, make_cloud, make_small):
    gradients = []
    for use in (False, True):
        encoder = make_small(name, use_grad_checkpoint=use, drop_path_rate=0.4).train()
        torch.manual_seed(5)
        encoder(make_cloud()).tokens.square().sum().backward()
        gradients.append([p.grad for p in encoder.parameters() if p.grad is not None])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)
    encoder = make_small(name, drop_path_rate=0.5)
    assert_same(encoder(make_cloud()), make_small(name)(make_cloud()), tolerance=0.0)
    encoder.train()
    assert not torch.allclose(encoder(make_cloud(8)).tokens, encoder(make_cloud(8)).tokens)


@pytest.mark.parametrize("name", ["pointnet2", "pointnet2_unet", *WITHOUT_GROUPS])
def test_encoders_without_stochastic_depth_say_so(name, make_small):
    with pytest.raises(ConfigError, match=r"none: (PointNet|the sparse|the voxel)"):
        make_small(name, drop_path_rate=0.1)
