"""InfoNCE and its terms: both scale conventions, masks, blocks of rows."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from lavis.common.errors import ConfigError
from lavis.models.contrastive import (
    ContrastiveTerms,
    Temperature,
    Term,
    contrast_targets,
    info_nce,
    max_over_queries,
)


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return F.normalize(values, dim=-1).requires_grad_()


def loss_of(a, b, keys, **options):
    targets = contrast_targets(keys, keys, smoothing=0.0)
    return info_nce(a, b, targets=targets, all_a=a, all_b=b, **options)


def test_scale_and_temperature_are_inverse_conventions():
    a, b, keys = unit(5, 8), unit(5, 8, seed=1), torch.arange(5)
    multiplied = loss_of(a, b, keys, scale=1 / 0.07)
    divided = loss_of(a, b, keys, scale=Temperature(0.07))
    plain = [F.cross_entropy(x, keys) for x in (a @ b.T / 0.07, b @ a.T / 0.07)]
    torch.testing.assert_close(multiplied, divided)
    torch.testing.assert_close(multiplied, sum(plain) / 2)


@pytest.mark.parametrize("queries", [False, True])
@pytest.mark.parametrize("rows", [1, 2, 4])
def test_blocks_of_rows_equal_the_whole(queries, rows):
    a = unit(5, 3, 8) if queries else unit(5, 8)
    b, keys = unit(5, 8, seed=1), torch.tensor([0, 1, 0, 3, 4])
    options = {"scale": Temperature(0.1)} | ({"similarity": max_over_queries} if queries else {})
    whole = loss_of(a, b, keys, **options)
    blocks = loss_of(a, b, keys, rows=rows, **options)
    torch.testing.assert_close(blocks, whole, rtol=1e-6, atol=1e-6)
    for mine, theirs in zip(
        torch.autograd.grad(blocks, (a, b)), torch.autograd.grad(whole, (a, b))
    ):
        assert (mine - theirs).norm() <= 1e-6 * theirs.norm()


def test_masked_pairs_are_neither_queries_nor_candidates():
    a, b, keys = unit(6, 8), unit(6, 8, seed=1), torch.arange(6)
    kept = torch.tensor([True, False, True, True, False, True])
    masked = loss_of(a, b, keys, scale=10.0, valid=(kept, kept))
    expected = loss_of(a[kept], b[kept], torch.arange(4), scale=10.0)
    torch.testing.assert_close(masked, expected)
    grad = torch.autograd.grad(masked, a)[0]
    assert grad[~kept].abs().sum() == 0


def test_what_a_masked_row_holds_has_no_effect():
    a, b, keys = unit(4, 8), unit(4, 8, seed=1), torch.arange(4)
    kept = torch.tensor([True, True, True, False])
    expected = loss_of(a, b, keys, scale=10.0, valid=(kept, kept))
    zeros = torch.cat([b[:3].detach(), torch.zeros(1, 8)])
    torch.testing.assert_close(
        loss_of(a, zeros, keys, scale=10.0, valid=(kept, kept)), expected.detach()
    )


def test_terms_have_their_own_scales_and_weights():
    terms = ContrastiveTerms([Term("point", "text"), Term("point", "image", weight=0.5)])
    embeds = {n: unit(4, 8, seed=k) for k, n in enumerate(("point", "text", "image"))}
    found = terms(embeds, torch.arange(4))
    expected = loss_of(embeds["point"], embeds["image"], torch.arange(4), scale=1 / 0.07)
    torch.testing.assert_close(found["loss_point_image"], expected)
    total = found["loss_point_text"] + 0.5 * found["loss_point_image"]
    torch.testing.assert_close(found["loss"], total)
    found["loss"].backward()
    assert set(terms.state_dict()) == {"point_text", "point_image"}
    assert all(p.grad is not None for p in terms.parameters())


def test_a_term_without_valid_pairs_is_a_connected_zero():
    terms = ContrastiveTerms([Term("point", "audio")])
    point, audio = unit(4, 8), torch.full((4, 8), math.nan)
    nobody = {"audio": torch.zeros(4, dtype=torch.bool)}
    loss = terms({"point": point, "audio": audio}, torch.arange(4), nobody)["loss"]
    assert loss.item() == 0.0
    loss.backward()
    assert torch.equal(point.grad, torch.zeros(4, 8))
    assert terms.point_audio.grad is not None


def test_scales_are_clamped_and_may_be_fixed():
    terms = ContrastiveTerms([Term("a", "b", init_scale=1000.0, learn_scale=False)])
    assert terms.scale(terms.terms[0]).item() == pytest.approx(100.0)
    assert not any(p.requires_grad for p in terms.parameters())


@pytest.mark.parametrize("terms", [[], [Term("a", "b"), Term("a", "b")]])
def test_terms_need_different_names(terms):
    with pytest.raises(ConfigError, match="different names"):
        ContrastiveTerms(terms)
