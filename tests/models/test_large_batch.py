"""Contrast over large batches has the loss and the gradients of the whole batch."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lavis.models import losses
from lavis.models.large_batch import cached_backward, chunked_contrast

BATCH, QUERIES, WIDTH = 7, 3, 8


@pytest.fixture
def embeds() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    points = F.normalize(torch.randn(BATCH, QUERIES, WIDTH, generator=generator), dim=-1)
    texts = F.normalize(torch.randn(BATCH, WIDTH, generator=generator), dim=-1)
    temperature = torch.tensor(0.1)
    return tuple(t.requires_grad_() for t in (points, texts, temperature))


def whole_contrast(points, texts, temperature, keys) -> torch.Tensor:
    logits = losses.contrast_logits(points, texts, points, texts, temperature)
    targets = losses.contrast_targets(keys, keys, 0.1)
    return losses.point_text_contrast(*logits, targets, losses.log_text_counts(keys))


@pytest.mark.parametrize("chunk_size", [1, 3, 7, 100])
def test_chunked_contrast_equals_the_whole(embeds, chunk_size):
    keys = torch.tensor([0, 1, 2, 0, 4, 5, 6])
    points, texts, temperature = embeds
    whole = whole_contrast(points, texts, temperature, keys)
    expected = torch.autograd.grad(whole, embeds)
    ours = chunked_contrast(
        *(points, texts, points, texts, temperature, (keys, keys)), chunk_size=chunk_size
    )
    torch.testing.assert_close(ours, whole, atol=1e-6, rtol=1e-6)
    for mine, theirs in zip(torch.autograd.grad(ours, embeds), expected):
        assert (mine - theirs).norm() <= 1e-6 * theirs.norm()


def test_cached_backward_has_the_gradients_of_the_whole_batch():
    torch.manual_seed(0)
    # LayerNorm, not BatchNorm: an encoder that mixes a batch's items has no small batches.
    encoder = nn.Sequential(nn.Linear(5, 16), nn.GELU(), nn.LayerNorm(16))
    heads = nn.ModuleList([nn.Linear(16, QUERIES * WIDTH), nn.Linear(16, WIDTH)])
    temperature = nn.Parameter(torch.tensor(0.1))
    inputs, keys = torch.randn(BATCH, 5), torch.arange(BATCH)
    parameters = [*encoder.parameters(), *heads.parameters(), temperature]

    def encode(chunk):
        hidden = encoder(chunk)
        points = heads[0](hidden).unflatten(-1, (QUERIES, WIDTH))
        return F.normalize(points, dim=-1), F.normalize(heads[1](hidden), dim=-1)

    def loss_of(points, texts):
        return whole_contrast(points, texts, temperature, keys)

    loss = loss_of(*encode(inputs))
    expected = torch.autograd.grad(loss, parameters)
    cached = cached_backward(encode, inputs.split(3), loss_of)
    torch.testing.assert_close(cached, loss.detach(), atol=1e-6, rtol=1e-6)
    for parameter, gradient in zip(parameters, expected):
        # Sums in another order: what is equal to rounding is the gradient as a vector.
        assert (parameter.grad - gradient).norm() <= 1e-6 * gradient.norm()


def test_cached_backward_repeats_dropout():
    dropped: list[torch.Tensor] = []
    weight = nn.Parameter(torch.ones(4))

    def encode(chunk):
        kept = F.dropout(torch.ones_like(chunk), 0.5)
        dropped.append(kept)
        return (kept * chunk * weight,)

    torch.manual_seed(1)
    cached_backward(encode, torch.ones(6, 4).split(2), lambda embeds: embeds.sum())
    assert len(dropped) == 6
    for first, second in zip(dropped[:3], dropped[3:]):
        assert torch.equal(first, second)
    torch.testing.assert_close(weight.grad, torch.cat(dropped[:3]).sum(0))
