"""Likelihood of candidate answers, in batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

PAIRS_PER_BATCH = 64
Score = Callable[[list[int], list[str]], tuple[Tensor, Tensor]]


def score_candidates(score: Score, candidates: Sequence[Sequence[str]]) -> list[Tensor]:
    """Score every candidate of every question in batches.

    Args:
        score: maps the questions' rows and as many answers to sums [M] and token counts [M].
        candidates: for each question its answers.

    Returns:
        Per question [K,2] float32 on the CPU: sum and count.
    """
    rows = [row for row, answers in enumerate(candidates) for _ in answers]
    texts = [answer for answers in candidates for answer in answers]
    parts = []
    for begin in range(0, len(rows), PAIRS_PER_BATCH):
        batch = slice(begin, begin + PAIRS_PER_BATCH)
        sums, counts = score(rows[batch], texts[batch])
        parts.append(torch.stack([sums.float(), counts.float()], 1).cpu())  # [M,2]
    scored = torch.cat(parts) if parts else torch.zeros(0, 2)
    return list(scored.split([len(answers) for answers in candidates]))
