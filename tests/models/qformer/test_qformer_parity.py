"""Our Q-Former against the numbers of salesforce-lavis 1.0.2 (benchmarks/qformer_reference.py)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks.qformer_reference import (
    CAPTIONS,
    EMBED_DIM,
    ENCODER_WIDTH,
    NUM_QUERIES,
    cloud_tokens,
    fill_by_name,
    gradient_summary,
)
from lavis.models.point_blip_models.config import PointBlipConfig
from lavis.models.point_blip_models.point_blip import PointBlip

# float32 on both sides, other kernels (SDPA, packed rows): bounds on states, losses, and on
# gradients relative to their norm.
STATES, LOSSES, GRADIENTS = 1e-5, 1e-5, 1e-4


class FromTokens(PointBlip):
    """Stage 1 on ready cloud tokens, as the reference was run."""

    def point_tokens(self, samples: dict) -> torch.Tensor:
        return samples["point_cloud"]


def official_name(name: str) -> str:
    """LAVIS' name of one of our parameters."""
    if name == "qformer.query_tokens":
        return "query_tokens"
    return name.replace("qformer.", "Qformer.", 1)


@pytest.fixture(scope="module")
def reference(repo_root: Path) -> dict:
    path = repo_root / "tests/models/reference/qformer_lavis.json"
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def model(tiny_bert, tiny_encoder_cfg) -> FromTokens:
    model = FromTokens(
        PointBlipConfig(
            embed_dim=EMBED_DIM,
            contrast_trains_both=False,
            point_encoder=tiny_encoder_cfg,
            freeze_point_encoder=False,
            qformer_bert=tiny_bert,
            qformer_width=None,
            num_query_token=NUM_QUERIES,
        )
    )
    assert model.qformer.config.encoder_width == ENCODER_WIDTH
    named = {official_name(n): p for n, p in model.named_parameters() if "point_encoder" not in n}
    fill_by_name(named)
    return model.eval()


@torch.no_grad()
def test_hidden_states_of_the_four_passes_equal_the_official_ones(model, reference):
    ids, mask = model.tokenize(CAPTIONS)
    cloud = model.project_cloud(cloud_tokens())
    query, cache = model.qformer.query_pass(cloud)
    decoder_ids = ids.clone()
    decoder_ids[:, 0] = model.tokenizer.bos_token_id
    ours = {
        "query": query,
        "text": model.qformer.text_pass(ids, mask),
        "joint": model.qformer.joint_pass(cloud, ids, mask),
        "causal": model.qformer.causal_pass(decoder_ids, mask, cache)[0][:, :6],
    }
    for name, states in ours.items():
        expected = torch.tensor(reference["states"][name])
        torch.testing.assert_close(states, expected, atol=STATES, rtol=0, msg=name)


def test_losses_and_gradients_equal_the_official_ones(model, reference):
    model.zero_grad()
    output = model({"point_cloud": cloud_tokens(), "text_input": CAPTIONS})
    for name, expected in reference["losses"].items():
        assert output[f"loss_{name}"].item() == pytest.approx(expected, abs=LOSSES), name
    output["loss"].backward()
    gradients = {
        official_name(n): p.grad for n, p in model.named_parameters() if p.grad is not None
    }
    ours = gradient_summary(gradients)
    assert ours.keys() == reference["gradients"].keys()
    for name, (norm, product) in reference["gradients"].items():
        # A key's bias shifts all scores of a row alike: its gradient is nothing but rounding.
        scale = 1.0 if name.endswith("key.bias") else max(norm, 1e-3)
        assert abs(ours[name][0] - norm) <= GRADIENTS * scale, name
        # A difference d changes the product with normal numbers by |d| in standard deviation.
        assert abs(ours[name][1] - product) <= 3 * GRADIENTS * scale, name


@pytest.mark.parametrize("beams", [1, 3, 5])
def test_captions_equal_the_official_ones(model, reference, beams):
    samples = {"point_cloud": cloud_tokens()}
    # LAVIS counts [DEC] in both bounds.
    written = model.generate(samples, num_beams=beams, max_length=11, min_length=4)
    assert written == reference["written"][str(beams)]
