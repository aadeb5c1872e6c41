"""What every registered model promises to the runner and the tasks, on a tiny one of each."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lavis.common.registry import registry
from omegaconf import OmegaConf

from lavis.common.model_state import load_trainable_state, trainable_state
from lavis.datasets.samples import select
from lavis.models.abilities import Captioner, Embedder, JointEmbedder, can
from lavis.runners.ema import Ema
from lavis.runners.optimizer import build_optimizer

# Other tests register models of their own.
MODELS = sorted(
    name
    for name in registry.list_models()
    if registry.get_model_class(name).__module__.startswith("lavis.models.")
)
RATES = {"weight_decay": 0.05, "lr_multipliers": {}, "init_lr": 1e-3, "beta2": 0.98}


@pytest.fixture
def sections(tiny_bert, tiny_llama, tiny_encoder_cfg) -> dict[str, dict[str, Any]]:
    """The `model` section of a tiny model of each arch."""
    encoder = {"point_encoder": tiny_encoder_cfg}
    qformer = {"qformer_bert": tiny_bert, "num_query_token": 4, "point_encoder_weights": None}
    stage1 = encoder | qformer | {"embed_dim": 16, "freeze_point_encoder": False}
    llm = {"llm": tiny_llama, "llm_dtype": "float32"}
    stage2 = encoder | qformer | llm | {"draft_length": 2, "freeze_point_encoder": False}
    contrastive = encoder | llm | {"hidden_dim": 16, "point_encoder_weights": None}
    return {
        "point_blip": stage1,
        "point_blip_feature_extractor": stage1,
        "point_blip_llm": stage2,
        "point_blip_opt": stage2,
        "point_llm_contrastive": contrastive,
        "ulip_text": encoder | {"text_tower": tiny_bert, "text_sources": {"caption": 1.0}},
    }


@pytest.fixture
def build(sections):
    """Return a function (arch, seed) -> tiny model."""

    def make(name: str, seed: int = 0) -> torch.nn.Module:
        torch.manual_seed(seed)
        return registry.get_model_class(name).from_config(OmegaConf.create(sections[name]))

    return make


@pytest.fixture
def samples(point_cloud, captions) -> dict[str, Any]:
    return {
        "point_cloud": point_cloud,
        "box_size": torch.rand(4, 3) + 0.5,
        "text_input": captions,
        "caption": captions,
        "instance_id": list("abcd"),
    }


def test_every_registered_model_is_in_the_battery(sections):
    assert sorted(sections) == MODELS


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("size", [1, 4])
def test_loss_reaches_every_trainable_parameter(build, samples, name, size):
    model = build(name).train()
    output = model(select(samples, torch.arange(size)))
    assert output["loss"].ndim == 0
    assert torch.isfinite(output["loss"])
    output["loss"].backward()
    missed = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not [n for n in missed if not unused(name, n)]


def unused(arch: str, parameter: str) -> bool:
    """Return whether captions leave a parameter alone: stage 2 reads questions with it."""
    questions = ("qformer.bert.embeddings.word", "qformer.bert.embeddings.position")
    text_half = ".intermediate.", ".output."
    is_text = parameter.startswith(questions) or (
        "qformer.bert.encoder" in parameter and any(part in parameter for part in text_half)
    )
    return arch in ("point_blip_llm", "point_blip_opt") and is_text


@pytest.mark.parametrize("name", MODELS)
def test_every_trainable_tensor_is_in_optimiser_average_and_checkpoint(build, name):
    model = build(name)
    trainable = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert trainable
    groups = build_optimizer(model, RATES).param_groups
    optimised = {id(p) for group in groups for p in group["params"]}
    assert optimised == {id(p) for p in trainable.values()}
    assert trainable.keys() <= Ema(model, 0.9).average.keys()
    assert trainable.keys() <= trainable_state(model).keys()


@pytest.mark.parametrize("name", MODELS)
def test_a_loaded_model_has_the_saved_ones_loss(build, samples, name, tmp_path):
    saved, loaded = build(name).eval(), build(name, seed=1).eval()
    frozen = {n: v for n, v in saved.state_dict().items() if n not in trainable_state(saved)}
    torch.save(trainable_state(saved), tmp_path / "state.pth")
    state = torch.load(tmp_path / "state.pth", weights_only=True)
    load_trainable_state(loaded, state | frozen, "test")
    with torch.no_grad():
        torch.manual_seed(0)
        expected = saved(samples)["loss"]
        torch.manual_seed(0)
        assert torch.equal(loaded(samples)["loss"], expected)


@pytest.mark.parametrize("name", [n for n in MODELS if can(registry.get_model_class(n), Embedder)])
def test_an_object_alone_is_embedded_as_within_a_batch(build, samples, name):
    model = build(name).eval()
    whole = model.embed(samples, "point")
    alone = model.embed(select(samples, torch.tensor([2])), "point")
    torch.testing.assert_close(alone, whole[2:3], rtol=1e-4, atol=1e-5)
    if can(model, JointEmbedder):
        torch.testing.assert_close(whole.norm(dim=-1), torch.ones(whole.shape[:-1]))
        texts = model.embed_texts(samples["text_input"])
        assert texts.shape == (4, whole.shape[-1])
        torch.testing.assert_close(texts.norm(dim=-1), torch.ones(4))


@pytest.mark.parametrize("name", [n for n in MODELS if can(registry.get_model_class(n), Captioner)])
def test_an_object_alone_is_captioned_as_within_a_batch(build, samples, name):
    model = build(name).eval()
    options = {"num_beams": 1, "max_length": 6, "min_length": 1}
    whole = model.generate(samples, **options)
    assert len(whole) == 4
    assert model.generate(select(samples, torch.tensor([1])), **options) == whole[1:2]
