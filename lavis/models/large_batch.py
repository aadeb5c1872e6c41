"""Contrast over batches that do not fit into memory, with the gradients of the whole batch.

- `chunked_contrast`: PTC row block by row block; no [B,world*B] matrix is kept.
- `cached_backward`: GradCache. The encoders run twice, small batch by small batch, so their
  activations are never held together: the loss sees all embeddings at once, its gradients with
  respect to them are kept, and each small batch is encoded again to receive its part.

Reference: Scaling Deep Contrastive Learning Batch Size (arXiv 2101.06983).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from lavis.common import rng_state
from lavis.models.losses import contrast_targets, log_text_counts, query_text_similarity

Chunk = TypeVar("Chunk")


def chunked_contrast(
    point_embeds: Tensor,
    text_embeds: Tensor,
    all_points: Tensor,
    all_texts: Tensor,
    temperature: Tensor,
    keys: tuple[Tensor, Tensor],
    smoothing: float = 0.1,
    chunk_size: int = 256,
) -> Tensor:
    """PTC as `contrast_logits` and `point_text_contrast` compute it, in blocks of rows.

    Args:
        point_embeds, text_embeds: unit embeddings of this rank [B,Q,E] and [B,E].
        all_points, all_texts: of all ranks [world*B,Q,E] and [world*B,E].
        temperature: scalar that cosines are divided by.
        keys: text keys of this rank [B] and of all ranks [world*B].
        smoothing: of the targets.
        chunk_size: rows of a block; memory grows with chunk_size * world * B * Q.

    Returns:
        The loss, a scalar. Blocks are computed again in backward.
    """

    def block(points: Tensor, texts: Tensor, own_keys: Tensor) -> Tensor:
        targets = contrast_targets(own_keys, keys[1], smoothing)
        to_text = query_text_similarity(points, all_texts) / temperature - log_counts
        to_point = query_text_similarity(all_points, texts).T / temperature
        losses = [F.cross_entropy(x, targets, reduction="sum") for x in (to_text, to_point)]
        return torch.stack(losses).sum()

    log_counts = log_text_counts(keys[1])
    total = torch.zeros((), device=point_embeds.device)
    parts = (point_embeds, text_embeds, keys[0])
    for rows in zip(*(part.split(chunk_size) for part in parts)):
        total = total + checkpoint(block, *rows, use_reentrant=False)
    return total / (2 * len(point_embeds))


def cached_backward(
    encode: Callable[[Chunk], tuple[Tensor, ...]],
    chunks: Sequence[Chunk],
    loss_of: Callable[..., Tensor],
) -> Tensor:
    """Backpropagate a loss over the embeddings of all chunks (GradCache).

    Args:
        encode: small batch -> embeddings, each [b,...], with gradient to the parameters. Dropout
            repeats: the second run starts from the random state of the first.
        chunks: the small batches.
        loss_of: embeddings, joined over the chunks, -> scalar. It may gather over ranks and may
            hold parameters of its own (a temperature).

    Returns:
        The loss, detached. Gradients are added to every `.grad`, as `loss.backward()` would.
    """
    states, encoded = [], []
    for chunk in chunks:
        states.append(rng_state.capture())
        with torch.no_grad():
            encoded.append(encode(chunk))
    joined = [torch.cat(parts).requires_grad_() for parts in zip(*encoded)]
    loss = loss_of(*joined)
    loss.backward()
    gradients = [tensor.grad for tensor in joined]
    after = rng_state.capture()
    start = 0
    for chunk, state in zip(chunks, states):
        rng_state.restore(state)
        embeds = encode(chunk)
        stop = start + len(embeds[0])
        torch.autograd.backward(embeds, [g[start:stop] for g in gradients if g is not None])
        start = stop
    rng_state.restore(after)
    return loss.detach()
