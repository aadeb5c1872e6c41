"""What every registered model promises to the runner and the tasks, on a tiny one of each."""

from __future__ import annotations

import pytest
import torch
from lavis.common.registry import registry

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


def test_every_registered_model_is_in_the_battery(model_sections):
    assert sorted(model_sections) == MODELS


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("size", [1, 4])
def test_loss_reaches_every_trainable_parameter(build_model, batch, name, size):
    model = build_model(name).train()
    output = model(select(batch, torch.arange(size)))
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
def test_every_trainable_tensor_is_in_optimiser_average_and_checkpoint(build_model, name):
    model = build_model(name)
    trainable = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert trainable
    groups = build_optimizer(model, RATES).param_groups
    optimised = {id(p) for group in groups for p in group["params"]}
    assert optimised == {id(p) for p in trainable.values()}
    assert trainable.keys() <= Ema(model, 0.9).average.keys()
    assert trainable.keys() <= trainable_state(model).keys()


@pytest.mark.parametrize("name", MODELS)
def test_a_loaded_model_has_the_saved_ones_loss(build_model, batch, name, tmp_path):
    saved, loaded = build_model(name).eval(), build_model(name, seed=1).eval()
    frozen = {n: v for n, v in saved.state_dict().items() if n not in trainable_state(saved)}
    torch.save(trainable_state(saved), tmp_path / "state.pth")
    state = torch.load(tmp_path / "state.pth", weights_only=True)
    load_trainable_state(loaded, state | frozen, "test")
    with torch.no_grad():
        torch.manual_seed(0)
        expected = saved(batch)["loss"]
        torch.manual_seed(0)
        assert torch.equal(loaded(batch)["loss"], expected)


@pytest.mark.parametrize("name", [n for n in MODELS if can(registry.get_model_class(n), Embedder)])
def test_an_object_alone_is_embedded_as_within_a_batch(build_model, batch, name):
    model = build_model(name).eval()
    whole = model.embed(batch, "point")
    alone = model.embed(select(batch, torch.tensor([2])), "point")
    torch.testing.assert_close(alone, whole[2:3], rtol=1e-4, atol=1e-5)
    if can(model, JointEmbedder):
        torch.testing.assert_close(whole.norm(dim=-1), torch.ones(whole.shape[:-1]))
        texts = model.embed_texts(batch["text_input"])
        assert texts.shape == (4, whole.shape[-1])
        torch.testing.assert_close(texts.norm(dim=-1), torch.ones(4))


@pytest.mark.parametrize("name", [n for n in MODELS if can(registry.get_model_class(n), Captioner)])
def test_an_object_alone_is_captioned_as_within_a_batch(build_model, batch, name):
    model = build_model(name).eval()
    options = {"num_beams": 1, "max_length": 6, "min_length": 1}
    whole = model.generate(batch, **options)
    assert len(whole) == 4
    assert model.generate(select(batch, torch.tensor([1])), **options) == whole[1:2]
