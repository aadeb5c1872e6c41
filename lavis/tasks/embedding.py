"""Embeddings of every object of a data set, by all ranks together, and their similarities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from lavis.common.dist_utils import (
    gather_object_list,
    get_rank,
    get_world_size,
    is_main_process,
)
from lavis.datasets.data_utils import move_to_device
from lavis.models.abilities import WordEmbedder, can
from lavis.models.contrastive import cosine, max_over_queries


def similarity(embeds: Tensor, text_embeds: Tensor) -> Tensor:
    """Score items [B,E] | [B,Q,E] with texts [K,E]: cosine of the best embedding, float32 [B,K]."""
    if embeds.ndim == 3:
        return max_over_queries(embeds, text_embeds)
    return cosine(embeds, text_embeds)


def object_embeddings(model: Any, samples: dict[str, Any]) -> Tensor:
    """Embed objects for comparison with each other: [B,E] | [B,Q,E]; lengths that count stay."""
    if can(model, WordEmbedder):
        return model.mean_tokens(samples)
    return model.embed(samples, "point")


@torch.no_grad()
def embed_objects(
    model: Any, dataset: Any, batch_size: int, rows: Sequence[int] | None = None
) -> np.ndarray | None:
    """Embed every object of a data set, or those of its rows, for rank 0: [N,Q,E]; else None."""
    rank, world_size = get_rank(), get_world_size()
    chosen = range(len(dataset)) if rows is None else rows
    own = chosen[rank::world_size]
    loader = DataLoader(Subset(dataset, own), batch_size, collate_fn=dataset.collater)
    parts = []
    for samples in tqdm(loader, desc="embed training objects", disable=not is_main_process()):
        samples = move_to_device(samples, model.device)
        parts.append(object_embeddings(model, samples).float().cpu().numpy())
    shards = gather_object_list(np.concatenate(parts) if parts else None)
    if rank != 0:
        return None
    first = next(shard for shard in shards if shard is not None)
    embeds = np.empty((len(chosen), *first.shape[1:]), dtype=np.float32)
    for shard_rank, shard in enumerate(shards):
        if shard is not None:
            embeds[shard_rank::world_size] = shard
    return embeds
