"""Micro-batches that are contrasted have the gradients of the whole batch."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import torch
from torch import nn

from lavis.common.errors import ConfigError
from lavis.datasets.samples import select
from lavis.models.contrastive.grad_cache import (
    GradCache,
    Rows,
    require_contrastive,
    statistics_kept,
)
from lavis.models.point_blip_models.config import PointBlipConfig
from lavis.models.point_blip_models.point_blip import PointBlip
from lavis.models.point_llm_contrastive_models.options import PointLLMContrastiveConfig
from lavis.models.point_llm_contrastive_models.point_llm_contrastive import PointLLMContrastive
from lavis.models.ulip_models.config import UlipTextConfig
from lavis.models.ulip_models.ulip_text import UlipText

WORKER = Path(__file__).with_name("contrast_worker.py")
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(params=["ulip_text", "point_blip", "point_llm_contrastive"])
def model(request, tiny_bert, tiny_llama, tiny_encoder_cfg):
    """A tiny model of each contrastive arch, with its contrast alone."""
    torch.manual_seed(0)
    encoder = {"point_encoder": tiny_encoder_cfg}
    if request.param == "ulip_text":
        return UlipText(UlipTextConfig(**encoder, text_tower=tiny_bert))
    if request.param == "point_blip":
        only_ptc = {"ptm": 0.0, "ptg": 0.0}
        return point_blip(tiny_bert, tiny_encoder_cfg, loss_weights=only_ptc)
    loss = {"loss_type": "contrastive", "negatives": "batch", "hidden_dim": 16}
    return PointLLMContrastive(PointLLMContrastiveConfig(**encoder, llm=tiny_llama, **loss))


def point_blip(bert: str, encoder: dict, **options) -> PointBlip:
    sizes = {"embed_dim": 16, "num_query_token": 4, "qformer_width": None}
    whole = {"point_encoder": encoder, "freeze_point_encoder": False, "qformer_bert": bert}
    return PointBlip(PointBlipConfig(**whole, **sizes, **options))


@pytest.fixture
def samples(point_cloud, captions) -> dict:
    texts = [*captions[:3], captions[0]]  # equal texts are positives
    ids = list("abcd")
    return {
        "point_cloud": point_cloud,
        "text_input": texts,
        "caption": texts,
        "instance_id": ids,
    }


def gradients(model) -> torch.Tensor:
    found = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    model.zero_grad(set_to_none=True)
    return torch.cat(found)


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_gradients_are_those_of_the_whole_batch(model, samples, size, kept):
    """In float64: encoders round differently in batches of other sizes, by 4e-5 in float32."""
    model.double().eval()  # dropout draws depend on the batches
    samples["point_cloud"] = samples["point_cloud"].double()
    whole = model(samples)
    whole["loss"].backward()
    expected = gradients(model)
    cache = GradCache(model, contextlib.nullcontext)
    batches = [select(samples, rows) for rows in torch.arange(4).split(size)]
    for batch in batches:
        cache.add(batch, last=kept and batch is batches[-1])
    losses = cache.contrast()
    for batch in batches:
        assert cache.replay(batch) == {}
    torch.testing.assert_close(losses["loss"], whole["loss"].detach(), rtol=1e-9, atol=1e-9)
    assert expected.dtype == torch.float64
    assert (gradients(model) - expected).norm() <= 1e-9 * expected.norm()


def test_dropout_of_the_second_pass_is_that_of_the_first(model, samples):
    """With one micro-batch both passes must agree with the plain step to the bit of its draws."""
    model.train()
    torch.manual_seed(5)
    model(samples)["loss"].backward()
    expected = gradients(model)
    torch.manual_seed(5)
    cache = GradCache(model, contextlib.nullcontext)
    cache.add(samples)
    cache.contrast()
    cache.replay(samples)
    assert (gradients(model) - expected).norm() <= 3e-6 * expected.norm()


def test_numbers_drawn_between_the_micro_batches_change_nothing(model, samples):
    model.train()
    found = []
    for drawn in (0, 3):
        torch.manual_seed(5)
        cache = GradCache(model, contextlib.nullcontext)
        halves = [select(samples, rows) for rows in torch.arange(4).split(2)]
        for half in halves:
            cache.add(half)
            torch.rand(drawn)
        cache.contrast()
        for half in halves:
            torch.rand(drawn)
            cache.replay(half)
        found.append(gradients(model))
    assert torch.equal(*found)


def test_the_graph_kept_of_the_last_micro_batch_changes_nothing(
    tiny_bert, tiny_encoder_cfg, samples
):
    """To the bit, dropout and the losses within micro-batches included, and one pass less."""
    found, encoded = [], []
    for kept in (False, True):
        torch.manual_seed(5)
        model = point_blip(tiny_bert, tiny_encoder_cfg).train()
        encode, passes = model.encode, []
        model.encode = lambda batch, encode=encode, passes=passes: passes.append(0) or encode(batch)
        cache = GradCache(model, contextlib.nullcontext)
        halves = [select(samples, rows) for rows in torch.arange(4).split(2)]
        for half in halves:
            cache.add(half, last=kept and half is halves[-1])
        cache.contrast()
        for half in halves:
            cache.replay(half)
        found.append(torch.cat([gradients(model), torch.rand(3)]))
        encoded.append(len(passes))
    assert torch.equal(*found)
    assert encoded == [4, 3]


def test_rows_of_growing_batches_lie_in_one_buffer():
    rows, batches = Rows(), [torch.rand(size, 2, 3) for size in (2, 1, 4, 2)]
    for batch in batches:
        rows.append({"a": batch, "mask": torch.ones(len(batch), dtype=torch.bool)})
    leaves = rows.leaves()
    assert rows.sizes == [2, 1, 4, 2]
    assert torch.equal(leaves["a"], torch.cat(batches))
    assert leaves["a"].requires_grad
    assert leaves["mask"].all()
    assert not leaves["mask"].requires_grad


def test_a_micro_batch_keeps_its_own_matching_and_captioning(tiny_bert, tiny_encoder_cfg, samples):
    torch.manual_seed(0)
    model = point_blip(tiny_bert, tiny_encoder_cfg)
    cache = GradCache(model, contextlib.nullcontext)
    halves = [select(samples, rows) for rows in torch.arange(4).split(2)]
    for half in halves:
        cache.add(half)
    assert set(cache.contrast()) == {"loss_ptc", "temperature", "loss"}
    for half in halves:
        assert set(cache.replay(half)) == {"loss_ptm", "loss_ptg", "loss"}
    assert model.itm_head.weight.grad.abs().sum() > 0
    assert model.temp.grad is not None


def test_running_statistics_see_each_batch_once():
    layer = nn.BatchNorm1d(3)
    layer(torch.randn(8, 3))
    once = layer.running_mean.clone()
    with statistics_kept(layer):
        layer(torch.randn(8, 3))
    assert torch.equal(layer.running_mean, once)
    assert layer.track_running_stats


def test_a_model_without_contrast_is_refused(tiny_llama, tiny_encoder_cfg):
    config = PointLLMContrastiveConfig(point_encoder=tiny_encoder_cfg, llm=tiny_llama)
    generative = PointLLMContrastive(config)
    for model in (generative, nn.Linear(2, 2)):
        with pytest.raises(ConfigError, match=r"run\.accumulate"):
            require_contrastive(model)


@pytest.fixture(scope="module")
def reports(tmp_path_factory, launch_ranks) -> list[dict]:
    """Reports of one process, and of two."""
    single = launch_ranks(WORKER, tmp_path_factory.mktemp("one"), 1)
    return single + launch_ranks(WORKER, tmp_path_factory.mktemp("two"), 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain", "plain_contrast", "masked", "masked_contrast"])
def test_runs_of_one_and_two_processes_reach_the_same_weights(reports, name):
    expected = torch.tensor(reports[0][name.removesuffix("_contrast")])
    for report in reports:
        torch.testing.assert_close(torch.tensor(report[name]), expected, rtol=0, atol=2e-5)
        assert report["largest"] == 4
