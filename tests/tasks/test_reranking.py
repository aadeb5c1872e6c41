"""Candidates are matched once by the rank of their object, from kept tokens or read again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from lavis.tasks.pair_scores import PairScores
from lavis.tasks.reranking import TokenStore, match_candidates

WORKER = Path(__file__).with_name("retrieval_worker.py")
ROOT = Path(__file__).resolve().parents[2]


class CountingReranker:
    """Matches by a sum of numbers; counts how often clouds are encoded."""

    device = torch.device("cpu")

    def __init__(self):
        self.encoded, self.matched = 0, 0

    def embed_for_matching(self, samples):
        self.encoded += 1
        numbers = torch.tensor([float(i) for i in samples["instance_id"]])
        return torch.zeros(len(numbers), 2), numbers[:, None, None].repeat(1, 4, 2)

    def match_scores(self, point_tokens, texts):
        self.matched += len(texts)
        return point_tokens[:, 0, 0] * 100 + torch.tensor([float(text) for text in texts])


def batches():
    return [{"instance_id": [f"{k:02d}", f"{k + 1:02d}"]} for k in range(0, 10, 2)]


def match(limit: int) -> tuple[CountingReranker, PairScores]:
    """Embed ten objects in batches of two and match their candidates under a limit of bytes."""
    generator = torch.Generator().manual_seed(0)
    objects, texts = F.normalize(torch.randn(2, 10, 4, generator=generator), dim=-1)
    ids = [f"{k:02d}" for k in range(10)]
    pairs = PairScores(ids, ids, objects, texts, torch.tensor(1.0))
    model = CountingReranker()
    store = TokenStore(model, batches(), limit)
    for samples in batches():
        store.add(samples["instance_id"], model.embed_for_matching(samples)[1])
    match_candidates(pairs, store, 3)
    return model, pairs


BYTES_OF_A_BATCH = 2 * 4 * 2 * 4


@pytest.mark.parametrize("limit", [BYTES_OF_A_BATCH, 3 * BYTES_OF_A_BATCH, 2**20])
def test_every_pair_is_matched_once_whether_tokens_are_kept_or_read_again(limit):
    model, pairs = match(limit)
    assert model.encoded == (5 if limit == 2**20 else 10)
    forward, back = (pairs.candidates[name] for name in ("object_to_text", "text_to_object"))
    rows = torch.arange(10.0)[:, None]
    assert torch.equal(forward.matching, rows * 100 + forward.columns)
    assert torch.equal(back.matching, back.columns * 100 + rows)
    keys = torch.cat(
        [(rows * 10 + forward.columns).flatten(), (back.columns * 10 + rows).flatten()]
    )
    assert model.matched == len(keys.unique())


def test_tokens_that_are_read_again_share_one_buffer():
    store = TokenStore(CountingReranker(), batches(), 2 * BYTES_OF_A_BATCH)
    store.add(["00", "01", "02"], torch.zeros(3 * 2, 4, 2))  # more than the limit
    found = [(ids, tokens.data_ptr(), tokens[:, 0, 0].tolist()) for ids, tokens in store.blocks()]
    assert [len(ids) for ids, *_ in found] == [4, 4, 2]
    assert len({pointer for _, pointer, _ in found}) == 1
    assert [number for *_, numbers in found for number in numbers] == list(range(10))


@pytest.mark.slow
def test_two_ranks_retrieve_what_one_rank_does(tmp_path, launch_ranks):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (alone,) = launch_ranks(WORKER, tmp_path / "one", 1)
    assert launch_ranks(WORKER, tmp_path / "two", 2) == [alone, alone]
    for name in ("point_retrieval_14.json", "modality_retrieval_14.json"):
        assert (tmp_path / "one" / name).read_text() == (tmp_path / "two" / name).read_text()
    assert alone["point_retrieval/14"]["object_to_text/recall_at_1"] > 0.2
