"""PTC, PTM and PTG: BLIP-2's ITC, ITM and ITG with point clouds for images, as pure functions.

Everything that depends on other ranks is an argument (`all_…`, rank, world size), so the functions
run in one process as well. What a batch larger than memory needs is in `large_batch.py`.

References: BLIP-2 (arXiv 2301.12597), section 3.1; ALBEF (arXiv 2107.07651) for soft targets.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lavis.common.dist_utils import get_world_size
from lavis.models.base_model import all_gather_with_grad, concat_all_gather


def gather_with_grad(tensor: Tensor) -> Tensor:
    """Concatenate a tensor [B,...] over ranks [world*B,...]; gradients flow back to every rank."""
    return tensor if get_world_size() == 1 else all_gather_with_grad(tensor.contiguous())


def gather(tensor: Tensor) -> Tensor:
    """Concatenate a tensor [B,...] over ranks without gradient."""
    return concat_all_gather(tensor.contiguous())


def query_text_similarity(point_embeds: Tensor, text_embeds: Tensor) -> Tensor:
    """Score each cloud with each text: the best of its queries.

    Runs in float32 under autocast, too: half precision rounds a cosine by 1e-3, and a temperature
    of 0.07 makes that 0.015 of a logit.

    Args:
        point_embeds: unit query embeddings [Bp,Q,E].
        text_embeds: unit text embeddings [Bt,E].

    Returns:
        [Bp,Bt] cosine of the best query, in [-1,1].
    """
    with torch.autocast(point_embeds.device.type, enabled=False):
        return (point_embeds.float() @ text_embeds.float().T).amax(1)  # [Bp,Q,Bt] -> [Bp,Bt]


def contrast_logits(
    point_embeds: Tensor,
    text_embeds: Tensor,
    all_points: Tensor,
    all_texts: Tensor,
    temperature: Tensor | float,
) -> tuple[Tensor, Tensor]:
    """Scale the similarities of this rank's items with everyone's.

    Args:
        point_embeds, text_embeds: unit embeddings of this rank [B,Q,E] and [B,E].
        all_points, all_texts: of all ranks [world*B,Q,E] and [world*B,E]. LAVIS passes them
            detached, so each loss trains one tower; with gradient, both train both.
        temperature: what cosines are divided by.

    Returns:
        (point->text, text->point), each [B,world*B].
    """
    point_to_text = query_text_similarity(point_embeds, all_texts) / temperature
    text_to_point = query_text_similarity(all_points, text_embeds).T / temperature
    return point_to_text, text_to_point


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


def log_text_counts(all_keys: Tensor) -> Tensor:
    """Logarithm of how often each text occurs among keys [N]: [N]."""
    return (all_keys[:, None] == all_keys[None, :]).sum(1).float().log()


def point_text_contrast(
    point_to_text: Tensor,
    text_to_point: Tensor,
    targets: Tensor,
    log_counts: Tensor | float = 0.0,
    text_targets: Tensor | None = None,
) -> Tensor:
    """PTC: symmetric cross-entropy of temperature-scaled similarities [B,world*B].

    Args:
        point_to_text, text_to_point: scores [B,world*B].
        targets: of `contrast_targets`.
        log_counts: of `log_text_counts` [world*B]. A text that occurs n times is then one
            candidate, not n. Otherwise the best score of a text is its likelihood divided by its
            frequency, and common texts (class names above all) are told too rarely.
        text_targets: targets of text->point where they differ; None: the same.
    """
    point_loss = F.cross_entropy(point_to_text - log_counts, targets)
    text_loss = F.cross_entropy(text_to_point, targets if text_targets is None else text_targets)
    return (point_loss + text_loss) / 2


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
