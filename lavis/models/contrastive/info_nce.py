"""InfoNCE between two sets of embeddings, both ways, over all ranks.

Two conventions for the scale of cosines are published. CLIP, OpenShape, ULIP and MixCon3D multiply
by a learned `exp(log_scale)`: pass a number or tensor. BLIP-2 and SimCLR divide by a temperature:
pass `Temperature(value)`. References: arXiv 1807.03748 (InfoNCE), 2103.00020 (CLIP), 2301.12597.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

# (x [N,E] or [N,Q,E], y [M,E] or [M,Q,E]) -> [N,M]
Similarity = Callable[[Tensor, Tensor], Tensor]
# [B,world*B], or a function (rows) -> those rows: blocks of rows then hold no [B,world*B] at all.
Targets = Tensor | Callable[[slice], Tensor]


class Temperature(NamedTuple):
    """What cosines are divided by."""

    value: Tensor | float


Scale = Tensor | float | Temperature


def full_precision(tensor: Tensor) -> Tensor:
    """Return a tensor in float32, or in float64 where it is that already."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def cosine(x: Tensor, y: Tensor) -> Tensor:
    """Return the cosines of unit x [N,E] and y [M,E] in float32, under autocast, too: [N,M].

    Half precision rounds a cosine by 1e-3, and a scale of 14 makes that 0.015 of a logit.
    """
    with torch.autocast(x.device.type, enabled=False):
        return full_precision(x) @ full_precision(y).T


def autocast_cosine(x: Tensor, y: Tensor) -> Tensor:
    """Return the cosines of unit x [N,E] and y [M,E] in the precision of autocast: [N,M]."""
    return x @ y.T


def max_over_queries(x: Tensor, y: Tensor) -> Tensor:
    """Return the cosine of the best query, in float32 (BLIP-2's ITC).

    Args:
        x, y: one has queries [N,Q,E], the other none [M,E].

    Returns:
        [N,M].
    """
    if x.ndim == 2:
        return max_over_queries(y, x).T
    with torch.autocast(x.device.type, enabled=False):
        return (full_precision(x) @ full_precision(y).T).amax(1)  # [N,Q,M] -> [N,M]


def scaled(similarity: Similarity, x: Tensor, y: Tensor, scale: Scale) -> Tensor:
    """Return the logits of x and y [N,M]; a multiplied scale applies to x, as in CLIP."""
    if isinstance(scale, Temperature):
        return similarity(x, y) / scale.value
    return similarity(scale * x, y)


def pair_logits(
    a: Tensor,
    b: Tensor,
    all_a: Tensor,
    all_b: Tensor,
    scale: Scale,
    similarity: Similarity = cosine,
) -> tuple[Tensor, Tensor]:
    """Return the logits of this rank's items with everyone's: a to b and b to a, [B,world*B].

    Args:
        a, b: unit embeddings of this rank's pairs, [B,E] or [B,Q,E].
        all_a, all_b: of all ranks. Detached, each direction trains one side (LAVIS); with
            gradient, both.
        scale: multiplies, or `Temperature` that divides.
        similarity: of two sets.
    """
    return scaled(similarity, a, all_b, scale), scaled(similarity, b, all_a, scale)


def symmetric_cross_entropy(
    a_to_b: Tensor,
    b_to_a: Tensor,
    targets: Tensor,
    log_counts: Tensor | float = 0.0,
    back_targets: Tensor | None = None,
) -> Tensor:
    """Return the mean of both directions' cross-entropies.

    Args:
        a_to_b, b_to_a: logits [B,world*B].
        targets: of `contrast_targets` [B,world*B].
        log_counts: of `log_text_counts` [world*B]. An item b that occurs n times is then one
            candidate, not n. Otherwise the best score of a text is its likelihood divided by its
            frequency, and common texts (class names above all) score too low.
        back_targets: targets of b_to_a where they differ; None: the same.
    """
    forth = F.cross_entropy(a_to_b - log_counts, targets)
    back = F.cross_entropy(b_to_a, targets if back_targets is None else back_targets)
    return (forth + back) / 2


def info_nce(
    a: Tensor,
    b: Tensor,
    *,
    scale: Scale,
    targets: Targets,
    all_a: Tensor,
    all_b: Tensor,
    valid: tuple[Tensor, Tensor] | None = None,
    similarity: Similarity = cosine,
    log_counts: Tensor | float = 0.0,
    back_targets: Targets | None = None,
    rows: int | None = None,
) -> Tensor:
    """Return symmetric InfoNCE of pairs.

    Args:
        a, b, all_a, all_b, scale, similarity: see `pair_logits`.
        targets, log_counts, back_targets: see `symmetric_cross_entropy`.
        valid: (own [B], of all ranks [world*B]), True where both sides of a pair exist. Other
            pairs are neither queries nor candidates. The mean is over the valid pairs of all
            ranks: each rank returns its sum over their number per rank, which DDP averages. Without
            any valid pair: zero, connected to a, b and the scale, so that DDP does not hang.
        rows: compute so many rows at a time and again in backward; memory grows with
            rows * world * B (* Q). None: all at once.
    """
    size = rows or len(a)
    back_targets = targets if back_targets is None else back_targets
    if valid is None and size >= len(a):
        logits = pair_logits(a, b, all_a, all_b, scale, similarity)
        both = [_rows_of(t, slice(0, len(a))) for t in (targets, back_targets)]
        return symmetric_cross_entropy(*logits, both[0], log_counts, both[1])
    if valid is None:
        own, everyone = torch.ones(len(a), device=a.device), None
    else:
        own, everyone = valid[0].float(), valid[1]
        # What is not there may be NaN, and zero times NaN would reach the gradients.
        a, b = _where(valid[0], a), _where(valid[0], b)
        all_a, all_b = _where(everyone, all_a), _where(everyone, all_b)

    def block(a: Tensor, b: Tensor, weight: Tensor, part: slice) -> Tensor:
        forth, back = (_rows_of(t, part) for t in (targets, back_targets))
        a_to_b, b_to_a = pair_logits(a, b, all_a, all_b, scale, similarity)
        if everyone is not None:
            forth, back = _only(forth, everyone), _only(back, everyone)
            lowest = torch.finfo(a_to_b.dtype).min
            a_to_b, b_to_a = (x.masked_fill(~everyone, lowest) for x in (a_to_b, b_to_a))
        losses = F.cross_entropy(a_to_b - log_counts, forth, reduction="none")
        losses = losses + F.cross_entropy(b_to_a, back, reduction="none")
        # A row that is not valid may hold anything: it must not reach the sum.
        return torch.where(weight > 0, losses, torch.zeros_like(losses)).sum()

    total = sum(_zero(part) for part in (a, b, scale))
    for start in range(0, len(a), size):
        part = slice(start, start + size)
        total = total + checkpoint(
            block, a[part], b[part], own[part], part, use_reentrant=False, preserve_rng_state=False
        )
    count = own.sum() if everyone is None else everyone.sum() * len(a) / len(everyone)
    return total / (2 * count.clamp(min=torch.finfo(torch.float32).tiny))


def _where(valid: Tensor, embeds: Tensor) -> Tensor:
    """Set the rows of embeds [B,...] to zero that are not valid [B]."""
    return torch.where(valid.view(-1, *[1] * (embeds.ndim - 1)), embeds, torch.zeros_like(embeds))


def _rows_of(targets: Targets, part: slice) -> Tensor:
    return targets[part] if isinstance(targets, Tensor) else targets(part)


def _only(targets: Tensor, everyone: Tensor) -> Tensor:
    """Move the mass of targets [B,N] to valid columns; rows without any keep zeros."""
    kept = targets * everyone
    return kept / kept.sum(1, keepdim=True).clamp(min=torch.finfo(kept.dtype).tiny)


def _zero(value: Scale) -> Tensor | float:
    """Return a zero that is connected to a tensor."""
    value = value.value if isinstance(value, Temperature) else value
    if not isinstance(value, Tensor):
        return 0.0
    return full_precision(value).sum() * 0.0
