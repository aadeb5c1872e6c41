"""Beam search with shared prefixes: equal to transformers', and exact when nothing is pruned."""

from __future__ import annotations

import itertools

import pytest
import torch

from lavis.models.language.beam_search import BeamOptions, beam_search
from lavis.models.language.llm import LanguageModel

END = 0


def table_step(table: torch.Tensor):
    """A language whose next token depends on the last one: table [V,V] of logits."""
    return lambda tokens, ancestry, index: table[tokens]


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_finds_the_best_text_when_no_beam_is_pruned(penalty):
    vocabulary, length = 4, 3
    table = torch.randn(vocabulary, vocabulary, generator=torch.Generator().manual_seed(1))
    first = torch.randn(1, vocabulary, generator=torch.Generator().manual_seed(2))
    log_first, log_next = first[0].log_softmax(-1), table.log_softmax(-1)

    def score(text: tuple[int, ...]) -> float:
        total = log_first[text[0]] + sum(log_next[a, b] for a, b in itertools.pairwise(text))
        return float(total) / len(text) ** penalty

    texts = [
        text
        for size in range(1, length + 1)
        for text in itertools.product(range(vocabulary), repeat=size)
        if END not in text[:-1] and (text[-1] == END or size == length)
    ]
    options = BeamOptions(16, length, END, pad_id=9, length_penalty=penalty)
    # 16 beams on 4 tokens: nothing is pruned. topk needs 2 * 16 candidates, which K * V gives.
    written = beam_search(first, table_step(table), options)[0].tolist()
    best = [token for token in max(texts, key=score) if token != END]
    assert [token for token in written if token != 9] == best


def test_ancestry_is_the_beam_s_own_text():
    """The mask names exactly the cached tokens that a beam's text consists of."""
    vocabulary, beams = 7, 3
    table = torch.randn(vocabulary, vocabulary, generator=torch.Generator().manual_seed(3))
    cached: list[torch.Tensor] = []

    def step(tokens, ancestry, index):
        cached.append(tokens)
        flat = torch.cat(cached, 1)  # [B,n*K]
        for row, beam in itertools.product(range(len(tokens)), range(beams)):
            own = flat[row][ancestry[row, beam]]
            assert len(own) == index + 1
            assert own[-1] == tokens[row, beam]
        # The whole text decides the next token, so a wrong ancestry changes the result.
        return table[(ancestry * flat[:, None]).sum(-1) % vocabulary]

    first = torch.randn(2, vocabulary, generator=torch.Generator().manual_seed(4))
    written = beam_search(first, step, BeamOptions(beams, 5, END, pad_id=9))
    assert written.shape == (2, 5)


def test_minimum_length_bars_the_end():
    first = torch.tensor([[9.0, 0.0, 0.0]])
    table = first.expand(3, 3)
    for least in (0, 2):
        options = BeamOptions(2, 4, END, pad_id=9, min_new_tokens=least)
        written = beam_search(first, table_step(table), options)
        assert int((written != 9).sum()) == least


@pytest.mark.parametrize("folder", ["tiny_llama", "tiny_opt"])
def test_writes_what_transformers_writes(folder, request):
    model = LanguageModel(request.getfixturevalue(folder)).eval()
    generator = torch.Generator().manual_seed(5)
    prefix = 0.5 * torch.randn(3, 4, model.hidden_size, generator=generator)
    prompts = ["what is it", "", "a"]
    bounds = {"max_new_tokens": 7, "min_new_tokens": 2, "num_beams": 4}
    ours = model.generate(prefix, prompts, **bounds)
    # An option that our search does not know sends the call to transformers.
    theirs = model.generate(prefix, prompts, **bounds, repetition_penalty=1.0)
    assert ours == theirs
    assert model.generate(prefix, prompts, batch_size=2, **bounds) == ours
