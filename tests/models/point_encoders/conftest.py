"""Small encoders and seeded clouds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from lavis.models.point_encoders import PointEncoder, build_point_encoder

_BERT = {
    "trans_dim": 24,
    "depth": 2,
    "num_heads": 3,
    "group_size": 8,
    "num_group": 12,
    "encoder_dims": 20,
    "stem_dims": [8, 12, 16],
}
_VIT = {
    "model_type": "vit",
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
SMALL = {
    "point_bert": _BERT,
    "ulip_point_bert": _BERT,
    "i2p_mae": {
        "num_groups": [16, 8, 4],
        "group_sizes": [8, 4, 3],
        "encoder_dims": [12, 12, 24],
        "encoder_depths": [1, 1, 1],
        "local_radius": [0.5, 1.0, 2.0],
        "num_heads": 2,
        "stem_dims": [8, 8, 8],
    },
    "ppat": {
        "trans_dim": 16,
        "depth": 2,
        "num_heads": 1,
        "mlp_dim": 16,
        "sa_dim": 12,
        "num_group": 10,
        "radius": 0.3,
        "group_size": 61,
        "out_dim": 9,
    },
    # Balls that never overflow: only then does the order of points not matter.
    "pointnet2": {"num_groups": [16, 8], "radius_scale": 0.5},
    "pointnet2_unet": {"num_groups": [16, 8, 6, 4], "radius_scale": 2.0},
    "sparse_unet": {"voxel_size": 0.1, "widths": [8, 12, 16]},
    "uni3d": {
        "backbone": _VIT,
        "group_size": 8,
        "num_group": 12,
        "encoder_dims": 20,
        "stem_dims": [8, 12, 16],
        "out_dim": 9,
    },
    "voxel_resnet": {"grid_size": 32, "widths": [4, 6, 8, 10]},
}


@pytest.fixture
def make_encoder() -> Callable[..., PointEncoder]:
    """Return a maker of seeded small Point-BERTs with BatchNorm statistics that are not trivial."""

    def make(**keys: object) -> PointEncoder:
        torch.manual_seed(0)
        encoder = build_point_encoder({"name": "point_bert", **_BERT, **keys})
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


@pytest.fixture
def small_sizes() -> dict[str, dict]:
    """Return small yaml keys for every registered encoder."""
    return SMALL


@pytest.fixture
def make_small() -> Callable[..., PointEncoder]:
    """Return a maker of a seeded small encoder of a name, in eval mode."""

    def make(name: str, **keys: object) -> PointEncoder:
        torch.manual_seed(0)
        return build_point_encoder({"name": name, **SMALL[name], **keys}).eval()

    return make
