"""Dense encoders: tokens between the halves, and values of tokens at the points."""

from __future__ import annotations

import pytest
import torch

from lavis.common.errors import ConfigError, ShapeError
from lavis.models.point_encoders import DenseEncoder, build_point_encoder, point_encoder_names
from lavis.models.point_encoders.registry import encoder_class
from lavis.models.voxel_ops import sparse_conv

LENGTHS = torch.tensor([61, 40, 61])
DENSE = ("pointnet2_unet", "sparse_unet")
every_dense = pytest.mark.parametrize("name", DENSE)


def test_every_dense_encoder_is_covered():
    classes = {name: encoder_class(name) for name in point_encoder_names()}
    assert {name for name, kind in classes.items() if issubclass(kind, DenseEncoder)} == set(DENSE)


@every_dense
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_an_encoding_describes_its_tokens(name, lengths, make_small, make_cloud):
    encoder, cloud = make_small(name), make_cloud()
    encoding = encoder.encode(cloud, lengths=lengths)
    count = len(encoding.tokens)
    assert encoding.tokens.shape == (count, encoder.token_dim)
    assert encoding.centers.shape == encoding.cells.shape == (count, 3)
    assert encoding.cloud.unique().tolist() == [0, 1, 2]
    assert (encoding.cells >= 0).all()
    valid = torch.arange(61) < (torch.tensor([61] * 3) if lengths is None else lengths)[:, None]
    torch.testing.assert_close(encoding.weight.sum(-1), valid.float())
    rows = torch.arange(3)[:, None, None].expand_as(encoding.index)
    assert torch.equal(encoding.cloud[encoding.index][valid], rows[valid])


@every_dense
def test_forward_is_both_halves(name, make_small, make_cloud):
    encoder, cloud = make_small(name), make_cloud()
    encoding = encoder.encode(cloud, lengths=LENGTHS)
    whole = encoder(cloud, lengths=LENGTHS)
    assert torch.equal(encoder.decode(encoding, encoding.tokens), whole.tokens)
    assert torch.equal(encoding.global_feature, whole.global_feature)
    assert not torch.allclose(encoder.decode(encoding, encoding.tokens + 1), whole.tokens)


@every_dense
def test_constants_spread_as_constants_and_gradients_flow(name, make_small, make_cloud):
    encoding = make_small(name).encode(make_cloud(), lengths=LENGTHS)
    ones = torch.ones(len(encoding.tokens), 2, requires_grad=True)
    spread = encoding.spread(ones)
    assert spread.shape == (3, 61, 2)
    torch.testing.assert_close(spread[1, :40], torch.ones(40, 2))
    assert not spread[1, 40:].any()
    spread.sum().backward()
    torch.testing.assert_close(ones.grad.sum(), 2.0 * LENGTHS.sum())


def test_points_of_a_coarse_cell_share_its_token():
    encoder = build_point_encoder({"name": "sparse_unet", "voxel_size": 0.1, "widths": [4, 6, 8]})
    cloud = torch.tensor([[[0.01, 0.0, 0.0], [0.39, 0.39, 0.39], [0.41, 0.0, 0.0]]])
    encoding = encoder.eval().encode(cloud)
    assert encoding.index.flatten().tolist() == [0, 0, 1]
    assert encoding.cells.tolist() == [[0, 0, 0], [1, 0, 0]]
    torch.testing.assert_close(encoding.centers[0], torch.tensor([0.2, 0.195, 0.195]))


@pytest.mark.parametrize("training", [True, False])
def test_a_single_point_is_encoded(training):
    """Its levels have one cell each, of which no batch statistics exist."""
    encoder = build_point_encoder({"name": "sparse_unet", "widths": [4, 6]}).train(training)
    output = encoder(torch.zeros(1, 1, 3))
    assert output.tokens.shape == (1, 1, 4)
    assert output.tokens.isfinite().all()


def test_folded_batch_norms_change_nothing(make_cloud):
    encoder = build_point_encoder({"name": "sparse_unet", "widths": [4, 6], "voxel_size": 0.2})
    layer = encoder.train().down[0]
    encoder(make_cloud())  # running statistics that are not trivial
    encoding = encoder.eval().encode(make_cloud())
    down, fine = encoding.state.down[0], encoding.state.skips[0]
    expected = layer.norm(sparse_conv(fine, layer.weight, down))
    torch.testing.assert_close(layer(fine, down), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_a_room_larger_than_the_grid_is_refused(scale, make_cloud):
    encoder = build_point_encoder({"name": "sparse_unet", "grid_size": 16, "widths": [4]})
    with pytest.raises(ShapeError, match=r"(?s)larger than the voxel grid.*crop the scene"):
        encoder(make_cloud() * scale)


@pytest.mark.parametrize(
    "keys", [{"voxel_size": 0}, {"voxel_size": True}, {"widths": []}, {"blocks": 0}]
)
def test_keys_that_cannot_be_used_are_refused(keys):
    with pytest.raises(ConfigError, match=next(iter(keys))):
        build_point_encoder({"name": "sparse_unet", **keys})
