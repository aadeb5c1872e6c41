"""Loading weights: published names, wrappers, prefixes, reports and refusals."""

from __future__ import annotations

import argparse
import logging

import pytest
import torch

from lavis.common.errors import CheckpointError
from lavis.models.point_encoders import load_encoder_checkpoint

STEM = [f"encoder.{stage}.{layer}" for stage in ("first_conv", "second_conv") for layer in "013"]
BLOCK = ["norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2"]


def published_keys(depth: int) -> set[str]:
    """Return the key names of the published ULIP / Point-BERT point encoder."""
    modules = [*STEM, "reduce_dim", "pos_embed.0", "pos_embed.2", "norm"]
    modules += [f"blocks.blocks.{layer}.{part}" for layer in range(depth) for part in BLOCK]
    keys = {f"{module}.{kind}" for module in modules for kind in ("weight", "bias")}
    keys -= {f"blocks.blocks.{layer}.attn.qkv.bias" for layer in range(depth)}
    for stage in ("first_conv", "second_conv"):
        keys |= {
            f"encoder.{stage}.1.{buffer}"
            for buffer in ("running_mean", "running_var", "num_batches_tracked")
        }
    return keys | {"cls_token", "cls_pos"}


def changed(encoder) -> dict[str, torch.Tensor]:
    """Return a state dict of other values than the encoder's own."""
    return {
        key: value + 1 if value.dtype == torch.long else torch.rand_like(value) + 0.1
        for key, value in encoder.state_dict().items()
    }


def test_parameter_names_and_shapes_are_the_published_ones(make_encoder):
    state = make_encoder(depth=3).state_dict()
    assert set(state) == published_keys(3)
    assert state["encoder.first_conv.0.weight"].shape == (8, 3, 1)
    assert state["encoder.second_conv.0.weight"].shape == (16, 24, 1)
    assert state["cls_pos"].shape == (1, 1, 24)


def test_save_and_load_gives_the_same_tokens(make_encoder, make_cloud, tmp_path):
    encoder, other = make_encoder(), make_encoder()
    encoder.load_state_dict(changed(encoder))
    torch.save(encoder.state_dict(), tmp_path / "encoder.pt")
    report = load_encoder_checkpoint(other, tmp_path / "encoder.pt")
    assert set(report.loaded) == published_keys(2)
    assert torch.equal(encoder(make_cloud()).tokens, other(make_cloud()).tokens)


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "base_model"])
@pytest.mark.parametrize("prefix", ["", "module.", "point_encoder.", "module.point_encoder."])
def test_wrappers_and_prefixes_are_removed(make_encoder, tmp_path, wrapper, prefix):
    encoder = make_encoder()
    wanted = changed(encoder)
    content = {prefix + key: value for key, value in wanted.items()}
    torch.save({wrapper: content, "epoch": 3} if wrapper else content, tmp_path / "encoder.pth")
    load_encoder_checkpoint(encoder, tmp_path / "encoder.pth")
    assert all(torch.equal(value, wanted[key]) for key, value in encoder.state_dict().items())


def test_a_whole_ulip_file_loads_and_is_reported(make_encoder, tmp_path, caplog):
    encoder = make_encoder()
    content = {f"module.point_encoder.{key}": value for key, value in changed(encoder).items()}
    content |= {"module.logit_scale": torch.tensor(1.0), "module.pc_projection": torch.ones(2)}
    arguments = argparse.Namespace(model="ULIP_PointBERT", lr=3e-3)
    torch.save({"state_dict": content, "args": arguments}, tmp_path / "ulip.pt")
    with caplog.at_level(logging.INFO):
        report = load_encoder_checkpoint(encoder, tmp_path / "ulip.pt")
    assert report.other_towers == ("logit_scale", "pc_projection")
    assert (report.missing, report.unexpected, report.shape_mismatch) == ((), (), ())
    assert "missing 0" in caplog.text


def test_safetensors_load(make_encoder, tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    encoder = make_encoder()
    wanted = changed(encoder)
    safetensors.save_file(wanted, tmp_path / "encoder.safetensors")
    load_encoder_checkpoint(encoder, tmp_path / "encoder.safetensors")
    assert torch.equal(encoder.cls_pos, wanted["cls_pos"])


def test_every_difference_is_listed_and_nothing_is_loaded(make_encoder, tmp_path):
    encoder = make_encoder()
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    content = changed(encoder)
    del content["cls_token"]
    content["cls_head.weight"] = torch.ones(2)
    content["norm.bias"] = torch.ones(7)
    torch.save(content, tmp_path / "encoder.pt")
    with pytest.raises(CheckpointError) as caught:
        load_encoder_checkpoint(encoder, tmp_path / "encoder.pt")
    message = str(caught.value)
    for part in ("missing: cls_token", "unexpected: cls_head.weight", "norm.bias is (7,)"):
        assert part in message
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())


def test_listed_differences_are_accepted(make_encoder, tmp_path):
    encoder = make_encoder()
    content = changed(encoder)
    del content["cls_token"], content["cls_pos"]
    content["cls_head.weight"] = torch.ones(2)
    torch.save(content, tmp_path / "encoder.pt")
    with pytest.raises(CheckpointError, match="cls_pos"):
        load_encoder_checkpoint(
            encoder, tmp_path / "encoder.pt", ["cls_token"], allow_unexpected="cls_head.*"
        )
    report = load_encoder_checkpoint(
        encoder, tmp_path / "encoder.pt", ["cls_*"], allow_unexpected="cls_head.*"
    )
    assert report.missing == ("cls_token", "cls_pos")
    assert report.unexpected == ("cls_head.weight",)
    assert torch.equal(encoder.norm.weight, content["norm.weight"])


def test_another_size_is_refused_even_when_all_is_allowed(make_encoder, tmp_path):
    torch.save(make_encoder(point_dims=6).state_dict(), tmp_path / "encoder.pt")
    with pytest.raises(CheckpointError, match=r"first_conv\.0\.weight is \(8, 6, 1\)"):
        load_encoder_checkpoint(make_encoder(), tmp_path / "encoder.pt", ["*"], ["*"])


def test_files_that_cannot_be_used_are_named(make_encoder, tmp_path):
    encoder = make_encoder()
    with pytest.raises(CheckpointError, match="not found"):
        load_encoder_checkpoint(encoder, tmp_path / "absent.pt")
    torch.save({"state_dict": encoder.state_dict()}, tmp_path / "cut.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "cut.pt").read_bytes()[:2000])
    (tmp_path / "text.pth").write_text("version https://git-lfs.github.com/spec/v1")
    (tmp_path / "text.safetensors").write_text("version https://git-lfs.github.com/spec/v1")
    for name in ("cut.pt", "text.pth", "text.safetensors"):
        with pytest.raises(CheckpointError, match="cannot be read"):
            load_encoder_checkpoint(encoder, tmp_path / name)
    torch.save({"epoch": 3}, tmp_path / "empty.pt")
    with pytest.raises(CheckpointError, match="no state dict"):
        load_encoder_checkpoint(encoder, tmp_path / "empty.pt")
    torch.save({"unrelated": torch.ones(1)}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="does not fit"):
        load_encoder_checkpoint(encoder, tmp_path / "other.pt", ["*"], ["*"])


class Payload:
    """Stands for code in a checkpoint."""


def test_objects_in_a_checkpoint_are_not_executed(make_encoder, tmp_path):
    torch.save({"state_dict": {}, "payload": Payload()}, tmp_path / "unsafe.pt")
    with pytest.raises(CheckpointError, match=r"test_checkpoint_io\.Payload"):
        load_encoder_checkpoint(make_encoder(), tmp_path / "unsafe.pt")
