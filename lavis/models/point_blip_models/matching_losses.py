"""PTM and PTG: BLIP-2's ITM and ITG with point clouds for images, as pure functions.

PTC is InfoNCE (`lavis/models/contrastive`). References: BLIP-2 (arXiv 2301.12597), section 3.1;
ALBEF (arXiv 2107.07651) for hard negatives.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lavis.models.contrastive import share_key

# How the weights of negatives are made (see `sample_hard_negatives`).
NEGATIVE_RULES = ("masked", "floored")


@torch.no_grad()
def sample_hard_negatives(
    similarity: Tensor, own_keys: Tensor, all_keys: Tensor, rule: str = "masked"
) -> tuple[Tensor, Tensor]:
    """Draw one negative column for each row, the likelier the more similar it is.

    Items that share a key with the row are never negatives.

    Args:
        similarity: temperature-scaled scores [B,world*B].
        own_keys, all_keys: keys of rows and columns, as in `share_key`.
        rule: `masked`, the softmax over the negatives (LAVIS after 1.0.2); or `floored`, the
            softmax over all columns plus 1e-4, of which positives are then taken out (1.0.2): as
            the positives become likely, its draw becomes uniform.

    Returns:
        Column index [B], and a boolean [B] that is False where a row has no negative at all (its
        index then points at column 0 and the row must be left out).
    """
    forbidden = share_key(own_keys, all_keys)
    weights = negative_weights(similarity.float(), forbidden, rule)
    valid = ~forbidden.all(1)
    weights[:, 0] += (~valid).float()
    return torch.multinomial(weights, 1).squeeze(1), valid


def negative_weights(similarity: Tensor, forbidden: Tensor, rule: str) -> Tensor:
    """Return what each column is drawn in proportion to [B,N]; 0 where `forbidden`."""
    if rule == "floored":
        return (F.softmax(similarity, dim=1) + 1e-4).masked_fill(forbidden, 0.0)
    weights = F.softmax(similarity.masked_fill(forbidden, -10000.0), dim=1)
    # The floor keeps every allowed column drawable when the softmax underflows.
    return (weights + 1e-8).masked_fill(forbidden, 0.0)


def point_text_matching(logits: Tensor, labels: Tensor) -> Tensor:
    """PTM: two-way cross-entropy of logits [M,2] averaged over queries; 1 is matched."""
    return F.cross_entropy(logits.float(), labels)


def caption_loss(logits: Tensor, labels: Tensor, smoothing: float = 0.1) -> Tensor:
    """PTG: cross-entropy of next tokens, logits [M,V] at the M positions that have a label [M]."""
    return F.cross_entropy(logits.float(), labels, label_smoothing=smoothing)
