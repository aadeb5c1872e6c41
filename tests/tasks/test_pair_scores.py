"""Blocks of rows give what whole matrices give, in both directions, with and without re-ranking."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lavis.evaluation.retrieval import BlockScorer, retrieval_scores
from lavis.models.contrastive import max_over_queries
from lavis.tasks.pair_scores import DIRECTIONS, PairScores, rerank
from lavis.tasks.point_retrieval import rank_pairs, same_caption_groups

SIZE, K = 23, 3


def pairs_of(whole: int, k_test: int = K) -> PairScores:
    """Return scores of 23 objects of three tokens, some with equal texts; matching is drawn."""
    generator = torch.Generator().manual_seed(0)
    objects = F.normalize(torch.randn(SIZE, 3, 8, generator=generator), dim=-1)
    texts = F.normalize(torch.randn(SIZE, 8, generator=generator), dim=-1)
    texts[5] = texts[9]
    names = [f"text {k if k != 5 else 9}" for k in range(SIZE)]
    temperature = torch.tensor(0.07)
    ids = [f"{k:02d}" for k in range(SIZE)]
    pairs = PairScores(ids, names, objects, texts, temperature, whole=whole)
    wanted = pairs.choose_candidates(k_test)
    log_odds = torch.randn(SIZE, SIZE, generator=generator)
    pairs.set_matching(wanted, log_odds[wanted[:, 0], wanted[:, 1]])
    return pairs


def dense(pairs: PairScores) -> torch.Tensor:
    """Return the whole matrix, object by text."""
    return max_over_queries(pairs.object_embeds, pairs.text_embeds) / pairs.temperature


@pytest.mark.parametrize("whole", [4, SIZE, 100])
def test_rows_are_those_of_the_whole_matrix(whole):
    pairs = pairs_of(whole)
    for direction, expected in zip(DIRECTIONS, (dense(pairs), dense(pairs).T)):
        rows = torch.cat([block for _, block in pairs.rows(direction)])
        if whole >= SIZE:
            assert torch.equal(rows, expected)
        torch.testing.assert_close(rows, expected)


def test_candidates_are_the_best_of_either_side_once():
    pairs = pairs_of(4)
    expected = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    expected.scatter_(1, dense(pairs).topk(K, dim=1).indices, True)
    expected.T.scatter_(1, dense(pairs).T.topk(K, dim=1).indices, True)
    again = pairs.choose_candidates(K)
    assert torch.equal(again, expected.nonzero())
    assert pairs.k_test == K


@pytest.mark.parametrize("weight", [0.0, 0.2, 3.0])
def test_ranks_of_blocks_are_those_of_whole_reranked_matrices(weight):
    blocked, whole = pairs_of(4), pairs_of(100)
    positives = same_caption_groups(blocked.texts)
    results, curve = rank_pairs(blocked, positives, weight)
    for direction in DIRECTIONS:
        ((block, contrast),) = whole.rows(direction)
        scores = whole.reranked(direction, block, contrast, weight)
        for name, matrix in ((direction, scores), (f"{direction}_ptc", contrast)):
            expected = retrieval_scores(matrix.numpy(), positives, top_k=10)
            assert np.array_equal(results[name].ranks, expected.ranks)
            assert np.array_equal(results[name].top_indices, expected.top_indices)
    for entry in curve:
        if entry["ptm_weight"] == weight:
            recall = results["object_to_text"].values["recall_at_1"]
            assert entry["object_to_text/recall_at_1"] == recall


def test_without_candidates_or_weight_the_order_is_that_of_contrast():
    plain, matched = pairs_of(100, k_test=0), pairs_of(100)
    assert plain.k_test == 0
    for direction in DIRECTIONS:
        ((block, contrast),) = plain.rows(direction)
        assert torch.equal(plain.reranked(direction, block, contrast, 1.0), contrast)
        ours = matched.reranked(direction, block, contrast, 0.0)
        ordered = contrast.gather(1, ours.argsort(dim=1, descending=True))
        assert (ordered.diff(dim=1) <= 0).all()


def test_a_confident_match_never_raises_a_pair_that_was_not_matched():
    contrast = torch.tensor([[3.0, 2.0, 1.0, 0.0]])
    matching = torch.tensor([[-900.0, -800.0]])
    scores = rerank(contrast, torch.tensor([[0, 1]]), matching, ptm_weight=1.0)
    assert scores.argsort(1, descending=True).tolist() == [[1, 0, 2, 3]]


def test_the_best_items_of_a_block_keep_the_order_of_equal_scores():
    scores = np.random.default_rng(0).integers(0, 4, size=(40, 30)).astype(np.float32)
    for k in (1, 7, 30):
        scorer = BlockScorer([[0]] * 40, 30, top_k=k)
        for begin in range(0, 40, 16):
            scorer.add(scores[begin : begin + 16])
        expected = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        assert np.array_equal(scorer.result().top_indices, expected)
