"""Contrast over large batches has the loss and the gradients of the whole batch."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lavis.models import losses
from lavis.models.large_batch import chunked_contrast, encode_in_chunks, mean_over_chunks

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


def test_encoding_in_chunks_has_the_gradients_of_the_whole_batch():
    torch.manual_seed(0)
    # LayerNorm, not BatchNorm: an encoder that mixes a batch's items has no small batches.
    encoder = nn.Sequential(nn.Linear(5, 16), nn.GELU(), nn.LayerNorm(16))
    heads = nn.ModuleList([nn.Linear(16, QUERIES * WIDTH), nn.Linear(16, WIDTH)])
    temperature = nn.Parameter(torch.tensor(0.1))
    inputs, keys = torch.randn(BATCH, 5), torch.arange(BATCH)
    parameters = [*encoder.parameters(), *heads.parameters(), temperature]

    def encode(rows):
        hidden = encoder(inputs[rows])
        points = heads[0](hidden).unflatten(-1, (QUERIES, WIDTH))
        return F.normalize(points, dim=-1), F.normalize(heads[1](hidden), dim=-1)

    everyone = torch.arange(BATCH)
    loss = whole_contrast(*encode(everyone), temperature, keys)
    expected = torch.autograd.grad(loss, parameters)
    chunked = whole_contrast(*encode_in_chunks(encode, everyone.split(3)), temperature, keys)
    torch.testing.assert_close(chunked, loss, atol=1e-6, rtol=1e-6)
    for found, gradient in zip(torch.autograd.grad(chunked, parameters), expected):
        # Sums in another order: what is equal to rounding is the gradient as a vector.
        assert (found - gradient).norm() <= 1e-6 * gradient.norm()


def test_a_chunk_is_encoded_again_with_the_same_dropout():
    dropped: list[torch.Tensor] = []
    weight = nn.Parameter(torch.ones(4))

    def encode(chunk):
        kept = F.dropout(torch.ones_like(chunk), 0.5)
        dropped.append(kept)
        return (kept * chunk * weight,)

    torch.manual_seed(1)
    (embeds,) = encode_in_chunks(encode, torch.ones(6, 4).split(2))
    embeds.sum().backward()
    assert len(dropped) == 6
    again = dropped[3:][::-1]  # backward starts at the last chunk
    for first, second in zip(dropped[:3], again):
        assert torch.equal(first, second)
    torch.testing.assert_close(weight.grad, torch.cat(dropped[:3]).sum(0))


def test_the_mean_over_chunks_weighs_each_term_once():
    values = torch.arange(7.0, requires_grad=True)

    def terms(rows):
        return values[rows].square().mean(), torch.tensor(len(rows))

    mean = mean_over_chunks(terms, torch.arange(7).split(3))
    torch.testing.assert_close(mean, values.square().mean())
    torch.testing.assert_close(torch.autograd.grad(mean, values)[0], 2 * values.detach() / 7)
