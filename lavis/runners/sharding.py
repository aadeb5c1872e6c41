"""The model over several processes: whole on each (DDP), or in shards (FSDP2).

FSDP2 is imported where a model is sharded, and recognised by its methods: its modules take a
second to import, in every process that trains or evaluates.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from lavis.runners.memory_savers import block_stacks


@contextlib.contextmanager
def gradient_sync(model: nn.Module, wanted: bool) -> Iterator[None]:
    """Let ranks exchange gradients in the backward pass inside only when `wanted`."""
    if isinstance(model, DistributedDataParallel) and not wanted:
        with model.no_sync():
            yield
        return
    if is_sharded(model):
        model.set_requires_gradient_sync(wanted)  # type: ignore[operator]
    yield


def unwrap(model: nn.Module) -> Any:
    """Return the model inside DDP; FSDP2 wraps in place."""
    return model.module if isinstance(model, DistributedDataParallel) else model


def shard(model: nn.Module, device_type: str) -> nn.Module:
    """Shard parameters over all ranks (FSDP2): block by block, then what is left.

    Each rank keeps 1/world of weights, gradients and optimiser states; a block is gathered for its
    forward and backward pass. Every rank must hold the same weights.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device_type, (dist.get_world_size(),))
    for _, stack in list(block_stacks(model)):
        for block in stack:
            fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def is_sharded(model: nn.Module) -> bool:
    """Return whether `model` was sharded by `shard`."""
    return hasattr(model, "set_requires_gradient_sync")


def is_shard(value: Any) -> bool:
    """Return whether `value` is a tensor of which this rank holds a part (a DTensor)."""
    return isinstance(value, torch.Tensor) and hasattr(value, "full_tensor")


@contextlib.contextmanager
def gathered(model: nn.Module) -> Iterator[None]:
    """Keep whole weights on every rank inside, for evaluation.

    Ranks score different numbers of batches and call more than `forward` (generate), so they cannot
    gather block by block together. Costs the memory of the whole weights.
    """
    parts: list[Any] = [module for module in model.modules() if is_sharded(module)]
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.reshard()
            # FSDP2's default: the outermost part stays gathered between forward and backward
            part.set_reshard_after_forward(part is not model, recurse=False)
