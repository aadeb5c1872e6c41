"""PTM and PTG: BLIP-2's ITM and ITG with point clouds for images, as pure functions.

PTC is InfoNCE (`lavis/models/contrastive`). References: BLIP-2 (arXiv 2301.12597), section 3.1;
ALBEF (arXiv 2107.07651) for hard negatives.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lavis.models.contrastive import share_key


@torch.no_grad()
def sample_hard_negatives(
    similarity: Tensor, own_keys: Tensor, all_keys: Tensor
) -> tuple[Tensor, Tensor]:
    """Draw one negative column for each row, the likelier the more similar it is.

    Items that share a key with the row are never negatives.

    Args:
        similarity: temperature-scaled scores [B,world*B].
        own_keys, all_keys: keys of rows and columns, as in `share_key`.

    Returns:
        Column index [B], and a boolean [B] that is False where a row has no negative at all (its
        index then points at column 0 and the row must be left out).
    """
    forbidden = share_key(own_keys, all_keys)
    weights = F.softmax(similarity.float().masked_fill(forbidden, -10000.0), dim=1)
    # The floor keeps every allowed column drawable when the softmax underflows.
    weights = (weights + 1e-8).masked_fill(forbidden, 0.0)
    valid = ~forbidden.all(1)
    weights[:, 0] += (~valid).float()
    return torch.multinomial(weights, 1).squeeze(1), valid


def point_text_matching(logits: Tensor, labels: Tensor) -> Tensor:
    """PTM: two-way cross-entropy of logits [M,2] averaged over queries; 1 is matched."""
    return F.cross_entropy(logits.float(), labels)


def caption_loss(logits: Tensor, labels: Tensor, smoothing: float = 0.1) -> Tensor:
    """PTG: cross-entropy of next tokens, logits [M,V] at the M positions that have a label [M]."""
    return F.cross_entropy(logits.float(), labels, label_smoothing=smoothing)
