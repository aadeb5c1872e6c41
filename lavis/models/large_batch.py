"""Contrast over batches that do not fit into memory, with the gradients of the whole batch.

- `chunked_contrast`: PTC row block by row block; no [B,world*B] matrix is kept.
- `encode_in_chunks`: GradCache. The encoders run twice, small batch by small batch, so their
  activations are never held together: the loss sees all embeddings at once, and in backward each
  small batch is encoded again to receive its part.
- `mean_over_chunks`: the same for losses that are sums over rows.

PointBLIP uses them with `model.chunk_size`.

Reference: Scaling Deep Contrastive Learning Batch Size (arXiv 2101.06983).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from lavis.models.losses import contrast_targets, log_text_counts, query_text_similarity


def chunked_contrast(
    point_embeds: Tensor,
    text_embeds: Tensor,
    all_points: Tensor,
    all_texts: Tensor,
    temperature: Tensor,
    keys: tuple[Tensor, Tensor],
    smoothing: float = 0.1,
    chunk_size: int = 256,
    object_keys: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """PTC as `contrast_logits` and `point_text_contrast` compute it, in blocks of rows.

    Args:
        point_embeds, text_embeds: unit embeddings of this rank [B,Q,E] and [B,E].
        all_points, all_texts: of all ranks [world*B,Q,E] and [world*B,E].
        temperature: scalar that cosines are divided by.
        keys: text keys of this rank [B] and of all ranks [world*B].
        smoothing: of the targets.
        chunk_size: rows of a block; memory grows with chunk_size * world * B * Q.
        object_keys: keys of the texts that are right for each object, of this rank and of all,
            [B,K] and [world*B,K]; None: the key of its text.

    Returns:
        The loss, a scalar. Blocks are computed again in backward.
    """
    own_objects, all_objects = object_keys or keys

    def block(points: Tensor, texts: Tensor, of_texts: Tensor, of_objects: Tensor) -> Tensor:
        to_text = query_text_similarity(points, all_texts) / temperature - log_counts
        to_point = query_text_similarity(all_points, texts).T / temperature
        text_targets = contrast_targets(of_objects, keys[1], smoothing, log_counts)
        point_targets = contrast_targets(of_texts, all_objects, smoothing)
        pairs = ((to_text, text_targets), (to_point, point_targets))
        return torch.stack([F.cross_entropy(*pair, reduction="sum") for pair in pairs]).sum()

    log_counts = log_text_counts(keys[1])
    total = torch.zeros((), device=point_embeds.device)
    parts = (point_embeds, text_embeds, keys[0], own_objects)
    for rows in zip(*(part.split(chunk_size) for part in parts)):
        total = total + checkpoint(block, *rows, use_reentrant=False)
    return total / (2 * len(point_embeds))


def encode_in_chunks(
    encode: Callable[[Tensor], tuple[Tensor, ...]], chunks: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """Encode chunk by chunk, keeping what is returned and nothing of how it came about (GradCache).

    Args:
        encode: chunk -> tensors [b,...], with gradient to the parameters. It runs again in
            backward, when the gradients of all chunks are known; dropout repeats.
        chunks: e.g. the row numbers of each.

    Returns:
        The tensors, joined over the chunks.
    """
    encoded = [checkpoint(encode, chunk, use_reentrant=False) for chunk in chunks]
    return tuple(torch.cat(parts) for parts in zip(*encoded))


def mean_over_chunks(
    terms: Callable[[Tensor], tuple[Tensor, Tensor]], chunks: Sequence[Tensor]
) -> Tensor:
    """Average a loss whose rows do not depend on each other.

    Args:
        terms: chunk -> mean loss and number of its terms; runs again in backward.
        chunks: as in `encode_in_chunks`.
    """
    parts = [checkpoint(terms, chunk, use_reentrant=False) for chunk in chunks]
    means, counts = (torch.stack(values) for values in zip(*parts))
    return (means * counts).sum() / counts.sum()
