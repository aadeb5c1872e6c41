"""Attention by either kernel is the same function, and training takes the plain one when short."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lavis.models.qformer.attention import attend


def heads(length: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 3, length, 8, generator=generator)


def plain(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """The published formula."""
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    return scores.masked_fill(~mask, -math.inf).softmax(-1) @ value


@pytest.mark.parametrize("keys", [7, 300])
@pytest.mark.parametrize("trained", [True, False])
def test_values_and_gradients_are_those_of_the_formula(keys: int, trained: bool) -> None:
    tensors = [heads(5, 0), heads(keys, 1), heads(keys, 2)]
    mask = torch.rand(2, 1, 5, keys, generator=torch.Generator().manual_seed(3)) < 0.7
    mask[..., 0] = True  # every place sees something
    ours = [t.clone().requires_grad_(trained) for t in tensors]
    theirs = [t.clone().requires_grad_(trained) for t in tensors]
    got, expected = attend(*ours, mask), plain(*theirs, mask)
    torch.testing.assert_close(got, expected)
    if trained:
        got.square().sum().backward()
        expected.square().sum().backward()
        for own, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(own.grad, other.grad)


def test_short_sequences_that_are_trained_leave_the_fused_kernel() -> None:
    short, long = heads(7, 0).requires_grad_(), heads(300, 0).requires_grad_()
    assert "Flash" not in type(attend(short, short, short).grad_fn).__name__
    assert "Flash" in type(attend(long, long, long).grad_fn).__name__
