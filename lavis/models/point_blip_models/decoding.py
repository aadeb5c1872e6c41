"""Left-to-right captioning with the Q-Former and its key/value cache: greedy, nucleus or beams."""

from __future__ import annotations

import torch
from torch import Tensor

from lavis.models.language.beam_search import BeamOptions, beam_search
from lavis.models.qformer.layers import KeyValue
from lavis.models.qformer.qformer import QFormer


def decode_captions(
    qformer: QFormer,
    cache: list[KeyValue],
    *,
    start_id: int,
    end_id: int,
    pad_id: int,
    max_length: int = 30,
    min_length: int = 1,
    top_p: float | None = None,
    temperature: float = 1.0,
) -> Tensor:
    """Write one caption for each cached cloud.

    Args:
        qformer: a Q-Former with its text half.
        cache: each layer's query keys/values from `query_pass`, batch B.
        start_id, end_id, pad_id: [DEC], [SEP] and [PAD].
        max_length, min_length: bounds on the written tokens; the end is barred before min_length.
        top_p: nucleus mass in (0,1]; None decodes greedily.
        temperature: softens the distribution that is sampled.

    Returns:
        Token ids [B,L], padded behind each end.
    """
    batch_size, device = cache[0][0].shape[0], cache[0][0].device
    token = torch.full((batch_size, 1), start_id, device=device)
    finished = torch.zeros(batch_size, dtype=torch.bool, device=device)
    written: list[Tensor] = []
    for step in range(max_length):
        mask = torch.ones(batch_size, step + 1, device=device)
        states, cache = qformer.causal_pass(token, mask, cache, start=step)
        logits = qformer.vocabulary_logits(states[:, -1]).float()  # [B,V]
        logits[:, start_id] = -torch.inf
        if step < min_length:
            logits[:, end_id] = -torch.inf
        choice = logits.argmax(-1) if top_p is None else nucleus_sample(logits / temperature, top_p)
        choice = choice.masked_fill(finished, pad_id)
        finished = finished | (choice == end_id)
        written.append(choice.masked_fill(choice == end_id, pad_id))
        token = choice[:, None]
        if bool(finished.all()):
            break
    return torch.stack(written, 1)


def decode_captions_with_beams(
    qformer: QFormer, cache: list[KeyValue], *, start_id: int, options: BeamOptions
) -> Tensor:
    """Write one caption for each cached cloud by beam search.

    Args:
        qformer: a Q-Former with its text half.
        cache: each layer's query keys/values from `query_pass`, batch B.
        start_id: [DEC].
        options: beams and bounds.

    Returns:
        Token ids [B,L], padded behind each end.
    """
    start = torch.full((len(cache[0][0]), 1), start_id, device=cache[0][0].device)
    states, past = qformer.causal_pass(start, torch.ones_like(start), cache)

    def step(tokens: Tensor, ancestry: Tensor, index: int) -> Tensor:
        nonlocal past
        states, past = qformer.branch_pass(tokens, ancestry, past, position=index + 1)
        return qformer.vocabulary_logits(states)  # [B,K,V]

    return beam_search(qformer.vocabulary_logits(states[:, -1]), step, options)


def nucleus_sample(logits: Tensor, top_p: float) -> Tensor:
    """Sample from the smallest set of tokens whose mass reaches top_p; logits [B,V] -> [B]."""
    ordered, order = logits.softmax(-1).sort(-1, descending=True)
    # A token stays when the mass before it is below top_p, so the first always stays.
    kept = ordered.masked_fill(ordered.cumsum(-1) - ordered >= top_p, 0.0)
    return order.gather(1, torch.multinomial(kept, 1)).squeeze(1)
