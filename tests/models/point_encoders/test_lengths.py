"""Clouds of different size in one padded batch: every encoder gives each object its own output."""

from __future__ import annotations

import pytest
import torch

from lavis.common.errors import ConfigError, ShapeError
from lavis.models.point_encoders import (
    PointEncoder,
    PointEncoderOutput,
    encode_batch,
    point_encoder_names,
)
from lavis.models.point_encoders.config import EncoderConfig

LENGTHS = torch.tensor([61, 40, 9, 61])  # 9: fewer than the groups of every encoder
every_encoder = pytest.mark.parametrize("name", point_encoder_names())
# Indices are the same; a batch and a single cloud differ by the blocking of matrix products.
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture
def padded(make_cloud) -> torch.Tensor:
    """Coloured clouds [4,61,6] whose padding would change every result."""
    clouds = make_cloud(4, 61, 6)
    for row, length in enumerate(LENGTHS):
        clouds[row, length:] = 3.0
    return clouds


def assert_equal_alone(encoder: PointEncoder, clouds: torch.Tensor, lengths: torch.Tensor) -> None:
    """Compare each object of a padded batch with the object alone."""
    with torch.no_grad():
        together = encoder(clouds, lengths=lengths)
        for row, length in enumerate(lengths.tolist()):
            alone = encoder(clouds[row : row + 1, :length])
            for field, expected in zip(together, alone, strict=True):
                if expected is not None:
                    per_point = encoder.num_tokens is None and field.dim() == 3
                    ours = field[row : row + 1, :length] if per_point else field[row : row + 1]
                    torch.testing.assert_close(ours, expected, **TOLERANCE)


@every_encoder
@pytest.mark.parametrize("channels", [3, 6])
def test_a_padded_batch_equals_each_object_alone(name, channels, make_small, padded) -> None:
    assert_equal_alone(make_small(name, point_dims=channels), padded, LENGTHS)


@every_encoder
def test_padding_may_hold_anything(name, make_small, padded) -> None:
    encoder = make_small(name)
    expected = encoder(padded, lengths=LENGTHS)
    broken = padded.clone()
    for row, length in enumerate(LENGTHS):
        broken[row, length:] = float("nan")
    for ours, theirs in zip(encoder(broken, lengths=LENGTHS), expected):
        assert ours is None or torch.equal(ours, theirs)


@every_encoder
def test_resampling_to_num_points_is_that_of_the_object_alone(name, make_small, padded) -> None:
    if not name.endswith("unet"):  # there num_points is refused
        assert_equal_alone(make_small(name, num_points=48), padded, LENGTHS)


@every_encoder
def test_a_batch_that_was_cut_may_have_more_padding_than_points(name, make_small, padded) -> None:
    assert_equal_alone(make_small(name), padded[1:3], LENGTHS[1:3])


@every_encoder
def test_full_lengths_change_nothing(name, make_small, padded) -> None:
    encoder, full = make_small(name), torch.full((4,), 61)
    for ours, expected in zip(encoder(padded, lengths=full), encoder(padded)):
        assert ours is None or torch.equal(ours, expected)


@every_encoder
def test_training_with_lengths_reaches_every_parameter(name, make_small, padded) -> None:
    encoder = make_small(name, random_start=True).train()
    output = encoder(padded, lengths=LENGTHS)
    (output.tokens.square().sum() + output.global_feature.square().sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())


@pytest.mark.parametrize("name", ["pointnet2_unet", "sparse_unet"])
def test_padding_stays_out_of_batch_statistics(name, make_small, padded) -> None:
    statistics = []
    for fill in (0.0, 3.0):
        encoder = make_small(name).train()
        clouds = padded.clone()
        for row, length in enumerate(LENGTHS):
            clouds[row, length:] = fill
        encoder(clouds, lengths=LENGTHS)
        statistics.append(torch.cat([b.float().flatten() for b in encoder.buffers()]))
    assert torch.equal(*statistics)


def test_only_tokens_of_points_are_masked(make_small) -> None:
    assert make_small("point_bert").token_mask(LENGTHS, 12) is None
    dense = make_small("pointnet2_unet")
    assert dense.token_mask(None, 61) is None
    assert dense.token_mask(LENGTHS, 61).sum(1).tolist() == LENGTHS.tolist()


def test_encode_batch_reads_lengths(make_small, padded) -> None:
    encoder = make_small("point_bert")
    samples = {"point_cloud": padded, "lengths": LENGTHS}
    expected = encoder(padded, lengths=LENGTHS)
    torch.testing.assert_close(encode_batch(encoder, samples).tokens, expected.tokens)
    plain = encode_batch(encoder, {"point_cloud": padded})
    assert torch.equal(plain.tokens, encoder(padded).tokens)


class FixedSize(PointEncoder):
    """An encoder for clouds of one size."""

    config_class = EncoderConfig

    def __init__(self) -> None:
        super().__init__(EncoderConfig())
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, point_cloud: torch.Tensor, **_: object) -> PointEncoderOutput:
        return PointEncoderOutput(point_cloud, point_cloud[..., :3], point_cloud.mean(1))


def test_other_encoders_refuse_padded_batches_by_name(padded) -> None:
    encoder = FixedSize()
    assert encode_batch(encoder, {"point_cloud": padded}).tokens.shape == padded.shape
    with pytest.raises(ConfigError, match=r"(?s)FixedSize cannot.*from 9 to 61"):
        encode_batch(encoder, {"point_cloud": padded, "lengths": LENGTHS})


@pytest.mark.parametrize("lengths", [[61, 40, 9], [0, 1, 1, 1], [62, 1, 1, 1], [1.0] * 4])
def test_lengths_that_do_not_fit_are_refused(lengths, make_small, padded) -> None:
    with pytest.raises(ShapeError, match="lengths does not fit"):
        make_small("point_bert")(padded, lengths=torch.tensor(lengths))
