"""Embeddings of every object of a data set, computed by all ranks together."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from lavis.common.dist_utils import (
    all_gather_object_list,
    get_rank,
    get_world_size,
    is_main_process,
)
from lavis.datasets.data_utils import move_to_device


@torch.no_grad()
def embed_objects(model: Any, dataset: Any, batch_size: int) -> np.ndarray:
    """Embed every object of a data set, in its order, on every rank: [N,Q,E]."""
    rank, world_size = get_rank(), get_world_size()
    own = range(rank, len(dataset), world_size)
    loader = DataLoader(Subset(dataset, own), batch_size, collate_fn=dataset.collater)
    parts = []
    for samples in tqdm(loader, desc="embed training objects", disable=not is_main_process()):
        samples = move_to_device(samples, model.device)
        parts.append(model.object_embeddings(samples).float().cpu().numpy())
    shards = all_gather_object_list(np.concatenate(parts) if parts else None)
    first = next(shard for shard in shards if shard is not None)
    embeds = np.empty((len(dataset), *first.shape[1:]), dtype=np.float32)
    for shard_rank, shard in enumerate(shards):
        if shard is not None:
            embeds[shard_rank::world_size] = shard
    return embeds
