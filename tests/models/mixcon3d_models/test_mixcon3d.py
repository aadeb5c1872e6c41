"""MixCon3D: the published numbers, absent views and texts, and what the release forgot.

official_values.json was written by running the official training step (UCSC-VLAA/MixCon3D, e4310fd)
on the numbers that `official_setting` draws: losses, and sum and norm of gradients, in float64.
"""

from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lavis.common.errors import ConfigError, DataError
from lavis.datasets.samples import collate, select
from lavis.models.contrastive.grad_cache import GradCache
from lavis.models.mixcon3d_models.config import Mixcon3dConfig
from lavis.models.mixcon3d_models.mixcon3d import MixCon3D
from lavis.models.mixcon3d_models.views import VIEWS, ViewPool
from lavis.models.point_encoders.ppat import SCALINGS
from lavis.models.point_encoders.registry import build_point_encoder

OFFICIAL = json.loads((Path(__file__).parent / "official_values.json").read_text())
E, B, V = 12, 6, 3


@pytest.fixture
def build(tiny_encoder_cfg):
    """Return a function (options) -> tiny model whose joint space has 12 dimensions."""

    def make(**options: Any) -> MixCon3D:
        torch.manual_seed(0)
        sizes = {"embed_dim": E, "point_encoder": tiny_encoder_cfg}
        return MixCon3D(Mixcon3dConfig(**(sizes | options)))

    return make


@pytest.fixture
def samples(point_cloud) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(3)
    return {
        "point_cloud": point_cloud,
        "image_embeds": torch.randn(4, V, E, generator=generator),
        "image_embeds_mask": torch.ones(4, V, dtype=torch.bool),
        "text_embeds": torch.randn(4, E, generator=generator),
        "text_embeds_mask": torch.ones(4, dtype=torch.bool),
        "instance_id": list("abcd"),
    }


def in_double(samples: dict[str, Any]) -> dict[str, Any]:
    """Return a batch with its floats in float64."""
    return {
        name: value.double()
        if isinstance(value, torch.Tensor) and value.is_floating_point()
        else value
        for name, value in samples.items()
    }


def official_setting(model: MixCon3D) -> tuple[torch.Tensor, dict[str, Any]]:
    """Draw the numbers of the official run and give the layers their weights."""
    generator = torch.Generator().manual_seed(7)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    point = draw(B, E).requires_grad_()
    views, text = draw(B, V, E), draw(B, E)
    weights = [(draw(E, width) / 4, draw(E) / 4) for width in (E, E, 2 * E, E)]
    model.double()
    layers = [model.text_proj, model.image_proj, model.joint_proj, model.view_pool.proj]
    if model.config.projections == "shared":
        layers[1] = None
    for layer, (weight, bias) in zip(layers, weights):
        if isinstance(layer, nn.Linear):
            layer.weight.data, layer.bias.data = weight, bias
    return point, {"image_embeds": views, "text_embeds": text}


@pytest.mark.parametrize("name", OFFICIAL)
def test_losses_and_gradients_are_the_official_ones(build, monkeypatch, name):
    views, projections, loss = name.split()
    model = build(views=views, projections=projections, loss_avg=loss == "loss_avg")
    point, batch = official_setting(model)
    monkeypatch.setattr(model, "point_feature", lambda samples: point)
    output = model(batch)
    output["loss"].backward()
    expected = OFFICIAL[name]
    for term, value in expected["losses"].items():
        key = "loss" if term == "loss" else f"loss_{term}"
        assert output[key].item() == pytest.approx(value, rel=1e-9), term
    scales = model.logit_scale
    found = {
        "point": point,
        "text_proj": model.text_proj.weight,
        "joint_proj": model.joint_proj.weight,
        "scale_text": scales.point_text,
        "scale_image": scales.point_image,
        "scale_image_text": scales.image_text,
        "scale_joint": scales.joint_text,
    }
    if projections == "separate":
        found["image_proj"] = model.image_proj.weight
    if views.endswith("_proj"):
        found["view_proj"] = model.view_pool.proj.weight
    assert set(found) == set(expected["gradients"])
    for key, parameter in found.items():
        own = [parameter.grad.sum().item(), parameter.grad.norm().item()]
        if key.startswith("scale"):
            own[1] = abs(own[1])
        assert own == pytest.approx(expected["gradients"][key], rel=1e-6), key


@pytest.mark.parametrize("scaling", [1, 2, 3])
def test_parameters_of_the_published_encoders(scaling):
    counts = {1: 5_100_768, 2: 13_346_880, 3: 25_954_368}
    assert scaling in SCALINGS
    encoder = build_point_encoder({"name": "ppat", "scaling": scaling, "out_dim": 1280})
    assert sum(p.numel() for p in encoder.parameters()) == counts[scaling]


def test_objects_without_views_or_text_leave_the_terms_that_need_them(build, samples):
    model = build().double().eval()
    samples = in_double(samples)
    samples["image_embeds"][3] = float("nan")
    samples["image_embeds_mask"][3] = False
    samples["text_embeds"][0] = float("nan")
    samples["text_embeds_mask"][0] = False
    output = model(samples)
    output["loss"].backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    for term, rows in {
        "point_text": [1, 2, 3],
        "point_image": [0, 1, 2],
        "image_text": [1, 2],
        "joint_text": [1, 2],
    }.items():
        alone = model(select(samples, torch.tensor(rows)))
        torch.testing.assert_close(output[f"loss_{term}"], alone[f"loss_{term}"])


def test_clouds_and_texts_alone_train_their_term(build, samples):
    for name in ("image_embeds", "image_embeds_mask"):
        samples.pop(name)
    model = build(views="avg_proj")
    output = model(samples)
    output["loss"].backward()
    assert output["loss_point_text"] > 0
    for term in ("point_image", "image_text", "joint_text"):
        assert output[f"loss_{term}"] == 0
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_equal_texts_are_positives_where_the_recipe_says_so(build, samples, tiny_bert):
    options = {"text_teacher": tiny_bert, "embed_dim": 32}
    batch = samples | {"text_input": ["a brick", "a brick", "a plate", "a hat"]}
    batch["image_embeds"] = torch.randn(4, V, 32)
    for name in ("text_embeds", "text_embeds_mask"):
        batch.pop(name)
    published = build(**options).eval()(batch)
    merged = build(**options, positives="text").eval()(batch)
    assert published["loss_point_image"] == merged["loss_point_image"]
    assert published["loss_point_text"] != merged["loss_point_text"]


@pytest.mark.parametrize("mode", VIEWS)
def test_absent_views_do_not_count(mode):
    torch.manual_seed(0)
    pool, views = ViewPool(mode, 4), torch.randn(2, 3, 4)
    valid = torch.tensor([[False, True, True], [True, False, False]])
    pooled = pool(views, valid)
    first = pool(views[:1, 1:], valid[:1, 1:])
    torch.testing.assert_close(pooled[:1], first)
    expected = {"single": views[0, 1], "avg": views[0, 1:].mean(0), "max": views[0, 1:].amax(0)}
    torch.testing.assert_close(pooled[0], pool.proj(expected[mode.removesuffix("_proj")]))
    none = torch.zeros(1, 3, dtype=torch.bool)
    torch.testing.assert_close(pool(views[:1], none)[0], pool.proj(torch.zeros(4)))


@pytest.mark.parametrize("size", [1, 2])
def test_contrasted_micro_batches_have_the_gradients_of_the_batch(build, samples, size):
    model = build(views="max_proj", projections="separate").double().eval()
    samples = in_double(samples)
    samples["text_embeds_mask"][2] = False
    model(samples)["loss"].backward()
    expected = {n: p.grad.clone() for n, p in model.named_parameters()}
    model.zero_grad()
    cache = GradCache(model, contextlib.nullcontext)
    batches = [select(samples, rows) for rows in torch.arange(4).split(size)]
    for batch in batches:
        cache.add(batch)
    cache.contrast()
    for batch in batches:
        cache.replay(batch)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-6, atol=1e-9)


def test_every_modality_is_embedded_in_the_space_of_the_texts(build, samples):
    model = build().eval()
    for modality in model.modalities:
        embeds = model.embed(samples, modality)
        assert embeds.shape == (4, E)
        torch.testing.assert_close(embeds.norm(dim=-1), torch.ones(4))
    joint = model.joint_proj(
        torch.cat([model.point_feature(samples), model.image_feature(samples, 4)[0]], -1)
    )
    torch.testing.assert_close(model.embed(samples, "joint"), joint / joint.norm(dim=-1)[:, None])


def test_scale_starts_at_the_published_value_and_stays_below_100(build):
    terms = build().logit_scale
    for term in terms.terms:
        assert terms.scale(term).item() == pytest.approx(14.28)
    terms.point_text.data.fill_(math.log(1000.0))
    assert terms.scale(terms.terms[0]).item() == pytest.approx(100.0)


def test_bad_inputs_are_refused_with_their_key(build, samples, tiny_bert):
    model = build().eval()
    wide = samples | {"image_embeds": torch.randn(4, V, E + 1)}
    with pytest.raises(DataError, match=r"image_embeds[\s\S]*13"):
        model(wide)
    samples["image_embeds_mask"][1] = False
    with pytest.raises(DataError, match=r"joint embedding needs the views[\s\S]*'b'"):
        model.embed(samples, "joint")
    with pytest.raises(ConfigError, match=r"model\.text_teacher"):
        model.embed_texts(["a brick"])
    with pytest.raises(ConfigError, match=r"model\.text_teacher[\s\S]*model\.embed_dim=32"):
        build(text_teacher=tiny_bert)
    with pytest.raises(ConfigError, match=r"does not embed 'joint'"):
        build(joint_text=False).eval().embed(samples, "joint")


def test_views_of_different_number_become_one_batch():
    rows = [{"image_embeds": torch.ones(n, E)} for n in (1, 3)] + [{"instance_id": "none"}]
    batch = collate(rows)
    assert batch["image_embeds"].shape == (3, 3, E)
    assert batch["image_embeds_mask"].tolist() == [[True, False, False], [True] * 3, [False] * 3]


def test_sizes_and_a_hidden_layer_belong_to_the_cloud(build, samples):
    plain, model = build(), build(use_size=True, head_width=10)
    assert not any(name.startswith("object_head.") for name in plain.state_dict())
    assert model.point_proj.in_features == 10
    with pytest.raises(ConfigError, match=r"model\.use_size"):
        model.embed(samples, "point")
    small = samples | {"box_size": torch.full((4, 3), 2.0)}
    large = samples | {"box_size": torch.full((4, 3), 8.0)}
    model.eval()
    assert not torch.allclose(model.embed(small, "point"), model.embed(large, "point"))
    assert torch.equal(model.embed(small, "image"), model.embed(large, "image"))
    assert not torch.allclose(model.embed(small, "joint"), model.embed(large, "joint"))
    model.train()(small)["loss"].backward()
    assert all(p.grad is not None for p in model.object_head.parameters())
