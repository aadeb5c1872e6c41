"""InfoNCE (NT-Xent) between projected clouds and texts: against a memory bank, or in the batch.

Source of the bank: src/train_stage1.py of github.com/amine-maazizi/PointLLM-Contrastive. It trains
with batches of one, so its negatives are 256 past embeddings of the other side, at first random
unit vectors; a batch' own items are no negatives. In-batch negatives are ours, with equal texts as
positives. InfoNCE: arXiv 1807.03748; NT-Xent: arXiv 2002.05709.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lavis.models.contrastive import (
    Temperature,
    autocast_cosine,
    contrast_targets,
    gather,
    gather_with_grad,
    info_nce,
)
from lavis.models.contrastive.text_keys import text_keys


def bank_contrast(
    points: Tensor, texts: Tensor, point_bank: Tensor, text_bank: Tensor, temperature: float = 0.07
) -> Tensor:
    """Contrast each pair with a bank of the other side, both ways.

    Args:
        points, texts: unit embeddings [B,D] of matching pairs.
        point_bank, text_bank: unit negatives [M,D].
        temperature: divides the cosines.
    """
    matching = (points * texts).sum(-1, keepdim=True)  # [B,1]
    point_logits = torch.cat([matching, points @ text_bank.T], 1) / temperature  # [B,1+M]
    text_logits = torch.cat([matching, texts @ point_bank.T], 1) / temperature
    first = torch.zeros(len(points), dtype=torch.long, device=points.device)
    return (F.cross_entropy(point_logits, first) + F.cross_entropy(text_logits, first)) / 2


def batch_contrast(
    points: Tensor,
    texts: Tensor,
    captions: list[str],
    temperature: float = 0.07,
    rows: int | None = None,
) -> Tensor:
    """Contrast each pair with the other pairs of the batch on all ranks, both ways.

    Args:
        points, texts: unit embeddings [B,D] of matching pairs.
        captions: the B texts; equal ones are positives of each other.
        temperature: divides the cosines.
        rows: computed at a time; None: all.
    """
    keys = text_keys(captions).to(points.device)
    everyone = gather(keys)
    return info_nce(
        points,
        texts,
        scale=Temperature(temperature),
        targets=lambda part: contrast_targets(keys[part], everyone, smoothing=0.0),
        all_a=gather_with_grad(points),
        all_b=gather_with_grad(texts),
        similarity=autocast_cosine,
        rows=rows,
    )


class MemoryBank(nn.Module):
    """The last `size` embeddings of both sides, first in first out; saved with checkpoints.

    Every rank adds the pairs of all ranks, so that the banks stay equal.

    Args:
        size: entries M for each side.
        width: D.
        seed: of the random unit vectors that fill it at first.
    """

    points: Tensor
    texts: Tensor
    position: Tensor

    def __init__(self, size: int, width: int, seed: int = 42) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        for name in ("points", "texts"):
            entries = torch.randn(size, width, generator=generator)
            self.register_buffer(name, F.normalize(entries, dim=-1))
        self.register_buffer("position", torch.zeros((), dtype=torch.long))

    def contrast(self, points: Tensor, texts: Tensor, temperature: float = 0.07) -> Tensor:
        """Score pairs [B,D] against the bank and, in training, add them to it."""
        # Copies: the bank changes before the backward pass reads what it was.
        banks = self.points.clone(), self.texts.clone()
        loss = bank_contrast(points, texts, *banks, temperature)
        if self.training:
            self.add(points, texts)
        return loss

    @torch.no_grad()
    def add(self, points: Tensor, texts: Tensor) -> None:
        """Replace the oldest entries by pairs [B,D]; of more than M pairs the last M stay."""
        size = len(self.points)
        points, texts = gather(points.detach()), gather(texts.detach())
        index = (self.position + torch.arange(len(points), device=points.device)) % size
        self.points[index[-size:]] = points[-size:].to(self.points.dtype)
        self.texts[index[-size:]] = texts[-size:].to(self.texts.dtype)
        self.position.copy_((self.position + len(points)) % size)
