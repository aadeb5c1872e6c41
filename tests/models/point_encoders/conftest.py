"""Small encoders and seeded clouds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from lavis.models.point_encoders import PointEncoder, build_point_encoder

SMALL = {
    "trans_dim": 24,
    "depth": 2,
    "num_heads": 3,
    "group_size": 8,
    "num_group": 12,
    "encoder_dims": 20,
    "stem_dims": [8, 12, 16],
}


@pytest.fixture
def make_encoder() -> Callable[..., PointEncoder]:
    """Return a maker of seeded small Point-BERTs with BatchNorm statistics that are not trivial."""

    def make(**keys: object) -> PointEncoder:
        torch.manual_seed(0)
        encoder = build_point_encoder({"name": "point_bert", **SMALL, **keys})
        for name, buffer in encoder.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_()
            if name.endswith("running_var"):
                buffer.uniform_(0.5, 2.0)
        return encoder.eval()

    return make


@pytest.fixture
def make_cloud() -> Callable[..., torch.Tensor]:
    """Return a maker of seeded clouds [B,N,C]."""

    def make(batch_size: int = 3, num_points: int = 61, channels: int = 3) -> torch.Tensor:
        generator = torch.Generator().manual_seed(7)
        return torch.rand(batch_size, num_points, channels, generator=generator)

    return make
