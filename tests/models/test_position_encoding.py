"""Sinusoidal encoding of token centres."""

from __future__ import annotations

import torch

from lavis.models.position_encoding import encode_xyz


def test_each_axis_has_its_own_sines_and_cosines():
    centers = torch.tensor([[[0.5, -0.25, 0.0]]])
    encoding = encode_xyz(centers, 14, resolution=10.0)
    assert encoding.shape == (1, 1, 14)
    frequencies = torch.tensor([1.0, 10000.0**-0.5])
    expected = torch.cat(
        [
            part
            for axis in (5.0, -2.5, 0.0)
            for part in ((axis * frequencies).sin(), (axis * frequencies).cos())
        ]
    )
    torch.testing.assert_close(encoding[0, 0, :12], expected)
    assert encoding[0, 0, 12:].tolist() == [0.0, 0.0]


def test_different_places_have_different_encodings():
    centers = torch.rand(1, 50, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    distances = torch.cdist(encode_xyz(centers, 48), encode_xyz(centers, 48))[0]
    assert (distances + 1e9 * torch.eye(50)).min() > 0.1
