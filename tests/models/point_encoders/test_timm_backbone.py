"""timm's vision transformers as trunks: equality with our EVA, refusals."""

from __future__ import annotations

import sys
import types

import pytest
import torch

from lavis.common.errors import ConfigError, DependencyError
from lavis.models.point_encoders import build_point_encoder
from lavis.models.point_encoders.eva import EVA_SIZES, EvaSizes, EvaTrunk
from lavis.models.point_encoders.timm_backbone import TimmTrunk, timm_model, timm_options

SIZES = {"name": "uni3d", "num_group": 6, "group_size": 4, "encoder_dims": 8, "out_dim": 5}
TINY = {"embed_dim": 24, "depth": 2, "num_heads": 3, "img_size": 28}
# Our name, timm's model of the same blocks.
TRUNKS = {
    "eva02_tiny": "eva02_tiny_patch14_224",
    "eva02_base": "eva02_base_patch14_224",
    "eva_giant": "eva_giant_patch14_224",
}


@pytest.fixture
def timm_works():
    """Skip where timm or the torchvision that it imports is missing or does not fit torch."""
    try:
        import timm
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"timm does not import: {error}")
    return timm


@pytest.mark.parametrize("ours", TRUNKS)
def test_our_eva_equals_timm(ours, timm_works):
    published = EVA_SIZES[ours]
    hidden = int(24 * published.hidden / published.width)
    sizes = EvaSizes(24, 2, 3, hidden, published.fused, published.gated, published.inner_norm)
    torch.manual_seed(0)
    trunk = EvaTrunk(sizes, 0.0, False).eval()
    for parameter in trunk.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    options = {"timm": TRUNKS[ours], **TINY, "mlp_ratio": hidden / 24}
    other = TimmTrunk(options).eval()
    found = other.load_state_dict(trunk.state_dict(), strict=False)
    assert found == ([], [])
    tokens = torch.randn(2, 7, 24)
    torch.testing.assert_close(other(tokens), trunk(tokens), atol=1e-5, rtol=1e-5)


def test_uni3d_runs_on_a_vit_of_timm(timm_works, make_cloud):
    backbone = {"timm": "vit_tiny_patch16_224", **TINY}
    encoder = build_point_encoder({**SIZES, "backbone": backbone}).train()
    output = encoder(make_cloud())
    assert output.tokens.shape == (3, 6, 24)
    output.global_feature.sum().backward()
    assert all(p.grad is not None for p in encoder.visual.blocks.parameters())


@pytest.mark.parametrize("backbone", ["timm:no_such_model", "timm:resnet18"])
def test_models_without_blocks_are_refused(backbone, timm_works):
    with pytest.raises(ConfigError, match=r"cannot run on groups[\s\S]*backbone"):
        build_point_encoder({**SIZES, "backbone": backbone})


@pytest.mark.parametrize(
    ("source", "got"),
    [
        ("import torchvision_is_not_here", "ModuleNotFoundError"),
        ("raise RuntimeError('operator torchvision::nms does not exist')", "RuntimeError"),
    ],
)
def test_a_timm_that_does_not_import_is_explained(source, got, tmp_path, monkeypatch):
    (tmp_path / "timm.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    with pytest.raises(DependencyError, match=rf"{got}[\s\S]*requirements-timm.txt"):
        build_point_encoder({**SIZES, "backbone": "timm:eva02_base_patch14_224"})


def test_arguments_reach_create_model(monkeypatch):
    made = []
    fake = types.SimpleNamespace(create_model=lambda name, **keys: made.append((name, keys)))
    monkeypatch.setitem(sys.modules, "timm", fake)
    timm_model("vit", pretrained=True)
    assert made == [("vit", {"num_classes": 0, "pretrained": True})]


@pytest.mark.parametrize(
    ("backbone", "options"),
    [
        ("timm:vit", {"timm": "vit"}),
        ({"timm": "vit", "pretrained": True}, {"timm": "vit", "pretrained": True}),
        ("google/vit", None),
        ({"model_type": "vit"}, None),
    ],
)
def test_timm_backbones_are_told_from_others(backbone, options):
    assert timm_options(backbone) == options
