"""Outputs equal to those of the official modules, run once on the same formula-made weights.

`fixtures/official_outputs.npz` holds the official outputs only. Weights and clouds are made here,
from the parameter names, exactly as they were made there; official random starts of the
farthest-point sampling were replaced by point 0, and its CUDA operators by their definition.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from lavis.models.point_encoders import PointEncoder, build_point_encoder, eva

FIXTURE = Path(__file__).parent / "fixtures" / "official_outputs.npz"
TINY = {
    "trans_dim": 24,
    "depth": 2,
    "num_heads": 3,
    "group_size": 8,
    "num_group": 12,
    "encoder_dims": 20,
}
TINY_PPAT = {
    "trans_dim": 32,
    "depth": 2,
    "num_heads": 2,
    "mlp_dim": 48,
    "sa_dim": 20,
    "num_group": 12,
    "radius": 0.4,
    "group_size": 16,
    "out_dim": 10,
}
UNET = {"name": "pointnet2_unet", "point_dims": 6, "num_groups": [100, 50, 40, 16]}
UNI3D = {"name": "uni3d", "group_size": 8, "num_group": 12, "encoder_dims": 20, "out_dim": 10}

CASES = {
    "ulip": {"name": "point_bert", **TINY},
    "ulip_color": {"name": "point_bert", "point_dims": 6, **TINY},
    "pointllm": {"name": "point_bert", "point_dims": 6, **TINY},
    "gpt4point": {"name": "point_bert", "point_dims": 6, "legacy_color_bug": True, **TINY},
    "i2p_mae": {"name": "i2p_mae", "num_groups": [24, 12, 6], "group_sizes": [8, 6, 4]},
    "ppat": {"name": "ppat", **TINY_PPAT},
    "pointnet2_ssg": {"name": "pointnet2", "num_groups": [140, 20]},
    "pointnet2_msg": {
        "name": "pointnet2",
        "variant": "msg",
        "num_groups": [140, 20],
        "point_dims": 6,
    },
    "pointnet2_unet": {**UNET, "radius_scale": 5},
    "pointnet2_unet_msg": {**UNET, "radius_scale": 5, "variant": "msg"},
    "uni3d_ti": {"backbone": "eva02_tiny", **UNI3D},
    "uni3d_b": {"backbone": "eva02_base", **UNI3D},
    "uni3d_g": {"backbone": "eva_giant", **UNI3D},
}


def fill(encoder: PointEncoder) -> PointEncoder:
    """Give every parameter and buffer values made from its name."""
    for name, tensor in encoder.state_dict().items():
        if not tensor.is_floating_point():
            continue
        seed = zlib.crc32(name.encode())
        uniform = np.random.default_rng(seed).random(tensor.numel()).reshape(tensor.shape)
        if name.endswith("running_var") or (tensor.dim() <= 1 and name.endswith("weight")):
            values = 0.5 + uniform
        elif tensor.dim() <= 1:
            values = 0.4 * (uniform - 0.5)
        else:
            fan_in = int(np.prod(tensor.shape[1:])) if tensor.shape[0] != 1 else 4
            values = (uniform - 0.5) * 2 * np.sqrt(3 / fan_in)
        tensor.copy_(torch.from_numpy(values).float())
    return encoder.eval()


def cloud(channels: int) -> torch.Tensor:
    """Return the clouds [2,240,C] that the official modules were given."""
    points = np.random.default_rng(7).random((2, 240, 6))
    points[..., :3] = 2 * points[..., :3] - 1
    points[..., :3] /= np.sqrt((points[..., :3] ** 2).sum(-1)).max()
    return torch.from_numpy(points[..., :channels]).float()


@pytest.fixture
def tiny_trunks(monkeypatch):
    """Shrink Uni3D's trunks to width 24, two blocks; their structure stays."""
    for name, hidden in (("eva02_tiny", 64), ("eva02_base", 64), ("eva_giant", 72)):
        kind = eva.EVA_SIZES[name]
        small = eva.EvaSizes(24, 2, 3, hidden, kind.fused, kind.gated, kind.inner_norm)
        monkeypatch.setitem(eva.EVA_SIZES, name, small)


@pytest.mark.parametrize("case", CASES)
def test_outputs_equal_those_of_the_official_module(case, tiny_trunks):
    official = np.load(FIXTURE)
    fields = [name.split("/")[1] for name in official.files if name.split("/")[0] == case]
    assert fields
    encoder = fill(build_point_encoder(CASES[case]))
    with torch.no_grad():
        output = encoder(cloud(encoder.in_channels))
    for field in fields:
        ours = output.global_feature if field == "global" else getattr(output, field)
        expected = torch.from_numpy(official[f"{case}/{field}"])
        difference = (ours[:, : expected.shape[1]] - expected).abs().max()
        assert difference <= 1e-5, f"{field}: {difference}"


def test_the_official_outputs_tell_a_wrong_encoder_apart(tiny_trunks):
    official = torch.from_numpy(np.load(FIXTURE)["gpt4point/tokens"])
    without_bug = fill(build_point_encoder(CASES["gpt4point"] | {"legacy_color_bug": False}))
    with torch.no_grad():
        assert (without_bug(cloud(6)).tokens - official).abs().max() > 0.01
