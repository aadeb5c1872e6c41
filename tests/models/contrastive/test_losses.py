"""PTC, PTM, PTG against plain computations, and the rules about equal captions."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from lavis.models import contrastive
from lavis.models.contrastive.text_keys import text_keys
from lavis.models.point_blip_models import matching_losses as losses


@pytest.fixture
def embeds() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    points = F.normalize(torch.randn(4, 3, 8, generator=generator), dim=-1)
    return points, F.normalize(torch.randn(4, 8, generator=generator), dim=-1)


def test_similarity_is_the_best_query(embeds):
    points, texts = embeds
    similarity = contrastive.max_over_queries(points, texts)
    for i in range(4):
        for j in range(4):
            best = max(float(points[i, q] @ texts[j]) for q in range(3))
            assert similarity[i, j].item() == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_similarity_stays_float32_under_autocast(embeds, dtype):
    expected = contrastive.max_over_queries(*embeds)
    with torch.autocast("cpu", dtype=dtype):
        assert torch.equal(contrastive.max_over_queries(*embeds), expected)


def test_detached_gather_trains_one_tower_per_direction(embeds):
    """LAVIS detaches what it gathers: point->text then trains the points alone."""
    points, texts = (tensor.clone().requires_grad_() for tensor in embeds)
    to_text, _ = contrastive.pair_logits(
        *(points, texts, points.detach(), texts.detach(), contrastive.Temperature(0.1)),
        contrastive.max_over_queries,
    )
    to_text.diagonal().sum().backward()
    assert points.grad is not None
    assert texts.grad is None


def test_pair_keys_differ_over_ranks():
    assert contrastive.pair_keys(3, rank=1).tolist() == [3, 4, 5]


def test_contrast_equals_label_smoothed_cross_entropy(embeds):
    similarity = contrastive.max_over_queries(*embeds) / 0.07
    keys = torch.arange(4)
    targets = contrastive.contrast_targets(keys, keys, smoothing=0.1)
    ours = contrastive.symmetric_cross_entropy(similarity, similarity.T, targets)
    expected = sum(
        F.cross_entropy(s, torch.arange(4), label_smoothing=0.1) for s in (similarity, similarity.T)
    )
    torch.testing.assert_close(ours, expected / 2)


def test_equal_captions_share_the_target():
    keys = text_keys(["a brick", "A brick ", "a plate"])
    targets = contrastive.contrast_targets(keys, keys, smoothing=0.0)
    assert targets.tolist() == [[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]


def test_a_repeated_text_is_one_candidate():
    scores = torch.tensor([[2.0, 2.0, -1.0], [2.0, 2.0, -1.0], [0.5, 0.5, 3.0]])
    keys = text_keys(["a brick", "a brick", "a plate"])
    targets = contrastive.contrast_targets(keys, keys, smoothing=0.0)
    counts = contrastive.log_text_counts(keys)
    ours = contrastive.symmetric_cross_entropy(scores, scores, targets, counts)
    # what stays is the contrast of two texts; sharing a positive between copies adds log 2
    once = F.cross_entropy(scores[:, 1:], torch.tensor([0, 0, 1]), reduction="none")
    shared = torch.tensor([2.0, 2.0, 1.0]).log()
    expected = (once + shared).mean() + F.cross_entropy(scores, targets)
    torch.testing.assert_close(ours, expected / 2)


@pytest.mark.parametrize("masked", [False, True])
def test_counts_of_texts_are_those_of_all_pairs(masked):
    generator = torch.Generator().manual_seed(0)
    keys = torch.randint(-5, 5, (40,), generator=generator)
    valid = torch.rand(40, generator=generator) < 0.5 if masked else None
    equal = keys[:, None] == keys[None, :]
    counts = (equal if valid is None else equal & valid).sum(1)
    assert torch.equal(contrastive.log_text_counts(keys, valid), counts.clamp(min=1).float().log())


def test_equal_captions_are_never_negatives():
    keys = text_keys(["a brick", "a brick", "a plate"])
    similarity = torch.tensor([[5.0, 9.0, -9.0]] * 3)
    torch.manual_seed(0)
    for _ in range(50):
        index, valid = losses.sample_hard_negatives(similarity, keys, keys)
        assert valid.all()
        assert index.tolist()[:2] == [2, 2]
        assert index[2] in (0, 1)


def test_a_row_without_negatives_is_marked():
    keys = text_keys(["a brick", "a brick"])
    _, valid = losses.sample_hard_negatives(torch.zeros(2, 2), keys, keys)
    assert not valid.any()


def test_negatives_follow_the_similarity():
    keys = torch.arange(3)
    similarity = torch.tensor([[0.0, 2.0, 0.0]]).expand(2000, 3)
    torch.manual_seed(0)
    index, _ = losses.sample_hard_negatives(similarity, torch.zeros(2000, dtype=torch.long), keys)
    share = (index == 1).float().mean().item()
    expected = float(torch.tensor([2.0, 0.0]).softmax(0)[0])
    assert share == pytest.approx(expected, abs=0.03)


def test_text_keys_do_not_depend_on_the_hash_seed():
    assert text_keys(["a brick"]).item() == text_keys(["a brick"]).item()
    assert text_keys(["a brick"]).item() != text_keys(["a plate"]).item()
