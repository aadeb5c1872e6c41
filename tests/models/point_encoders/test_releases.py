"""Published files by release name: key names and shapes of the official modules, and refusals.

`fixtures/published_keys.json.gz` lists name and shape of every tensor in the state dict of each
official module at its published size.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import torch

from lavis.common.errors import CheckpointError, ConfigError
from lavis.models.point_encoders import (
    RELEASES,
    PointEncoder,
    build_point_encoder,
    load_encoder_checkpoint,
    load_released_encoder,
    release_named,
)
from lavis.models.point_encoders.checkpoint_io import _matches
from lavis.models.point_encoders.export import released_state

PUBLISHED = json.loads(
    gzip.decompress((Path(__file__).parent / "fixtures" / "published_keys.json.gz").read_bytes())
)
SAME_MODULE = {"point_bert": "ulip_point_bert", "pointbind_point_bert": "ulip_point_bert"}


def on_meta(section: dict) -> PointEncoder:
    """Build an encoder without memory for its weights."""
    with torch.device("meta"):
        return build_point_encoder(section)


@pytest.mark.parametrize("release", RELEASES)
def test_names_and_shapes_are_those_of_the_official_module(release):
    encoder = on_meta(dict(RELEASES[release].encoder))
    keys = PUBLISHED[SAME_MODULE.get(release, release)]
    official = encoder.rename_published(
        {key: torch.empty(shape, device="meta") for key, shape in keys.items()}
    )
    kept = {k: t.shape for k, t in official.items() if not _matches(k, encoder.published_extras)}
    assert kept == {key: tensor.shape for key, tensor in encoder.state_dict().items()}


@pytest.mark.parametrize("variant", ["ssg", "msg"])
def test_the_unet_differs_from_the_s3dis_model_in_its_input_only(variant):
    encoder = on_meta({"name": "pointnet2_unet", "variant": variant, "point_dims": 6})
    official = PUBLISHED["pointnet2_unet" if variant == "ssg" else "pointnet2_unet_msg"]
    official = {k: s for k, s in official.items() if not _matches(k, encoder.published_extras)}
    ours = {key: list(tensor.shape) for key, tensor in encoder.state_dict().items()}
    assert set(ours) == set(official)
    different = {key for key in ours if ours[key] != official[key]}
    assert different == (
        {"sa1.mlp_convs.0.weight"}
        if variant == "ssg"
        else {"sa1.conv_blocks.0.0.weight", "sa1.conv_blocks.1.0.weight"}
    )


SMALL = {
    "ulip_point_bert": {"trans_dim": 24, "depth": 1, "num_heads": 3, "stem_dims": [8, 8, 8]},
    "openshape_vitb32": {"trans_dim": 16, "depth": 1, "num_heads": 1, "sa_dim": 8, "mlp_dim": 8},
    "openshape_vitl14": {"trans_dim": 16, "depth": 1, "num_heads": 1, "sa_dim": 8, "mlp_dim": 8},
    "pointbind_i2p_mae": {"encoder_dims": [6, 6, 6], "encoder_depths": [1, 1, 1]},
    "pointllm": {"trans_dim": 24, "depth": 1, "num_heads": 3, "stem_dims": [8, 8, 8]},
    "point_bert": {"trans_dim": 24, "depth": 1, "num_heads": 3, "stem_dims": [8, 8, 8]},
    "pointnet2_ssg": {},
}


def layout(release: str, state: dict[str, torch.Tensor]) -> dict:
    """Lay a state dict out as the official file does."""
    one = torch.ones(1)
    under = {
        "ulip_point_bert": ("module.point_encoder.", {"module.logit_scale": one}, "state_dict"),
        "openshape_vitb32": ("pc_encoder.", {"logit_scale": one}, None),
        "openshape_vitl14": ("pc_encoder.", {"text_proj.weight": one}, None),
        "pointbind_i2p_mae": ("point_encoder.", {"bind.modality.weight": one}, None),
        "pointllm": ("model.point_backbone.", {"model.norm.weight": one}, None),
        "point_bert": (
            "module.transformer_q.",
            {"module.transformer_q.mask_token": one, "module.transformer_k.cls_pos": one},
            "base_model",
        ),
        "pointnet2_ssg": ("", {"fc3.weight": one, "fc3.bias": one}, "model_state_dict"),
    }
    prefix, others, wrapper = under[release]
    if release == "openshape_vitb32":  # the patch transformer itself, without a projection
        state = {name.removeprefix("ppat."): tensor for name, tensor in state.items()}
    flat = {prefix + name: tensor for name, tensor in state.items()} | others
    return {wrapper: flat, "epoch": 1} if wrapper else flat


@pytest.mark.parametrize("release", SMALL)
def test_a_file_in_the_official_layout_loads_exactly(release, tmp_path):
    wanted = build_point_encoder({**RELEASES[release].encoder, **SMALL[release]}).state_dict()
    torch.save(layout(release, wanted), tmp_path / "model.pt")
    encoder, report = load_released_encoder(release, tmp_path / "model.pt", **SMALL[release])
    assert not encoder.training
    assert not report.missing
    assert not report.unexpected
    assert report.other_towers
    assert all(torch.equal(value, wanted[key]) for key, value in encoder.state_dict().items())


def test_missing_and_unexpected_keys_are_named(tmp_path):
    state = build_point_encoder(
        {**RELEASES["ulip_point_bert"].encoder, **SMALL["ulip_point_bert"]}
    ).state_dict()
    del state["norm.bias"]
    state["norm.offset"] = torch.ones(1)
    torch.save(layout("ulip_point_bert", state), tmp_path / "model.pt")
    with pytest.raises(CheckpointError) as caught:
        load_released_encoder("ulip_point_bert", tmp_path / "model.pt", **SMALL["ulip_point_bert"])
    assert "missing: norm.bias" in str(caught.value)
    assert "unexpected: norm.offset" in str(caught.value)


def test_a_published_file_becomes_safetensors(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    encoder = build_point_encoder({"name": "pointnet2"})
    torch.save({"model_state_dict": encoder.state_dict()}, tmp_path / "model.pth")
    state = released_state(tmp_path / "model.pth", "pointnet2_ssg", torch.float32)
    safetensors.save_file(state, tmp_path / "encoder.safetensors")
    again = build_point_encoder({"name": "pointnet2"})
    load_encoder_checkpoint(again, tmp_path / "encoder.safetensors")
    assert torch.equal(again.fc2.weight, encoder.fc2.weight)


def test_an_unknown_release_offers_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean 'openshape_vitg14'"):
        release_named("openshape_vitg")
