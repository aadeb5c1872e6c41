"""Which items of a batch are positives of each other: soft targets from keys."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def share_key(own_keys: Tensor, all_keys: Tensor) -> Tensor:
    """Return which items have an equal key: boolean [B,N].

    Args:
        own_keys, all_keys: integer keys [B] and [N]. One of the two may have several keys per
            item, [B,K] or [N,K]; one equal key is enough.
    """
    if own_keys.ndim == 2:
        return (own_keys[:, :, None] == all_keys).any(1)  # [B,K,N] -> [B,N]
    if all_keys.ndim == 2:
        return (own_keys[:, None, None] == all_keys).any(2)  # [B,N,K] -> [B,N]
    return own_keys[:, None] == all_keys[None, :]


def contrast_targets(
    own_keys: Tensor,
    all_keys: Tensor,
    smoothing: float = 0.1,
    log_counts: Tensor | float = 0.0,
) -> Tensor:
    """Build soft targets in which items with an equal key are all positives.

    Args:
        own_keys: integer keys of the local items [B] or [B,K] (see `share_key`).
        all_keys: keys of all ranks [world*B] or [world*B,K].
        smoothing: mass spread evenly over all items (label smoothing).
        log_counts: of `log_text_counts` [world*B]: the copies of a text then share one part of the
            mass. It matters where different texts are right for one object.

    Returns:
        Rows that sum to one [B,world*B].
    """
    positive = share_key(own_keys, all_keys).float()
    positive = positive * torch.as_tensor(-log_counts).exp()
    positive = positive / positive.sum(1, keepdim=True)
    return (1 - smoothing) * positive + smoothing / all_keys.shape[0]


def pair_keys(batch_size: int, rank: int = 0, device: torch.device | None = None) -> Tensor:
    """Return keys that differ for every item of every rank [B]: one positive each, as published."""
    return torch.arange(rank * batch_size, (rank + 1) * batch_size, device=device)


def log_text_counts(all_keys: Tensor, valid: Tensor | None = None) -> Tensor:
    """Return the logarithm of how often each text occurs among keys [N]: [N].

    Args:
        all_keys: of all ranks.
        valid: [N], False where an item does not count; None: all count.
    """
    keys, order = all_keys.sort()  # the comparison of all pairs would be an int64 [N,N] in its sum
    counted = torch.ones_like(keys) if valid is None else valid[order].long()
    before = F.pad(counted.cumsum(0), (1, 0))  # [N+1], counted items before a place
    first = torch.searchsorted(keys, all_keys)
    last = torch.searchsorted(keys, all_keys, right=True)
    return (before[last] - before[first]).clamp(min=1).float().log()
