"""Likelihood of candidate answers: shared by the Q-Former (stage 1) and the language model.

The Q-Former answers by its captioning head: question and answer are one text behind [DEC], and the
answer's tokens are scored given the question's and the cloud. Trained on captions alone it is no
question answerer, but it ranks choices without any further training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lavis.models.qformer.qformer import KeyValue, QFormer


def caption_head_log_likelihood(
    qformer: QFormer,
    tokenizer: Any,
    cache: list[KeyValue],
    questions: Sequence[str],
    answers: Sequence[str],
) -> tuple[Tensor, Tensor]:
    """Log-likelihood of answers behind their questions by the captioning head.

    Args:
        qformer: with its text half.
        tokenizer: with [DEC] as its start token.
        cache: each layer's query keys/values from `query_pass`, batch M.
        questions, answers: M texts each.

    Returns:
        Sums over the answer's tokens, the end token included [M], and their numbers [M].
    """
    device = cache[0][0].device
    texts = [f"{question} {answer}" for question, answer in zip(questions, answers, strict=True)]
    tokens = tokenizer(texts, padding="longest", return_tensors="pt").to(device)
    # Words never join across the space, so a question has as many tokens alone as before an answer.
    starts = [len(ids) - 1 for ids in tokenizer(list(questions)).input_ids]  # without [SEP]
    ids, mask = tokens.input_ids.clone(), tokens.attention_mask
    ids[:, 0] = tokenizer.bos_token_id  # [CLS] becomes [DEC]
    states, _ = qformer.causal_pass(ids[:, :-1], mask[:, :-1], cache)  # [M,T-1,C]
    position = torch.arange(1, ids.shape[1], device=device)
    is_answer = (position >= torch.tensor(starts, device=device)[:, None]) & mask[:, 1:].bool()
    logits = qformer.vocabulary_logits(states[is_answer]).float()  # [A,V]
    scores = logits.log_softmax(-1).gather(1, ids[:, 1:][is_answer][:, None])[:, 0]
    rows = is_answer.nonzero()[:, 0]
    return scores.new_zeros(len(ids)).index_add(0, rows, scores), is_answer.sum(1)
