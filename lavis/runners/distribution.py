"""The model made ready for training on one process or many, and for evaluation on many."""

from __future__ import annotations

import logging
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from lavis.common.dist_utils import is_dist_avail_and_initialized
from lavis.common.errors import ConfigError
from lavis.runners.memory_savers import checkpoint_activations
from lavis.runners.sharding import shard


def share_weights(model: nn.Module) -> None:
    """Give every rank rank 0's weights: each rank initialises what no checkpoint covers."""
    if not is_dist_avail_and_initialized():
        return
    for tensor in model.state_dict().values():
        shared = tensor.contiguous()
        dist.broadcast(shared, src=0)
        tensor.copy_(shared)


def prepare_for_training(model: nn.Module, run_cfg: Any, device: torch.device) -> nn.Module:
    """Apply recomputation and compilation, and wrap the model when several processes train it.

    Args:
        model: on `device`.
        run_cfg: the run section.
        device: of this process.

    Raises:
        ConfigError: run.sync_batchnorm with several processes without GPUs.
    """
    several = is_dist_avail_and_initialized()
    if run_cfg.sync_batchnorm and several:
        model = sync_batchnorm(model, device)
    if run_cfg.activation_checkpointing:
        logging.info("recomputing %d blocks", checkpoint_activations(model))
    if run_cfg.compile:
        model.compile(backend=run_cfg.compile_backend)
    if not several:
        return model
    if run_cfg.strategy == "fsdp":
        return shard(model, device.type)
    return DistributedDataParallel(
        model,
        device_ids=[device.index] if device.type == "cuda" else None,
        find_unused_parameters=bool(run_cfg.find_unused_parameters),
    )


def sync_batchnorm(model: nn.Module, device: torch.device) -> nn.Module:
    """Let batch normalisation use the statistics of all ranks.

    Raises:
        ConfigError: not on a GPU, where torch's SyncBatchNorm does not run.
    """
    if device.type != "cuda":
        raise ConfigError(
            "torch's SyncBatchNorm needs CUDA",
            where="run.sync_batchnorm",
            got=f"several processes on {device.type}",
            fix="train on GPUs, on one process, or without run.sync_batchnorm",
        )
    return nn.SyncBatchNorm.convert_sync_batchnorm(model)
