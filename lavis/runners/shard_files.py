"""Checkpoints of a sharded model (FSDP2): each rank writes what it holds.

    shard_step00000050_rank1of8.pth     sharded tensors of rank 1: weights, AdamW, average
    checkpoint_last.pth                 everything else, written by rank 0 when all shards are there

With the same number of ranks each reads its own file; with another number every rank joins all
parts and cuts them anew, which takes the memory of the whole state once per process.
torch.distributed.checkpoint is not used: its metadata file is a pickle.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lavis.common.checkpoint import load_checkpoint_file
from lavis.runners.sharding import is_shard

LOCAL = "__local__"


def shard_path(folder: Path, step: int, rank: int, world_size: int) -> Path:
    """Return the file of one rank."""
    return folder / f"shard_step{step:08d}_rank{rank}of{world_size}.pth"


def to_local(state: Any) -> Any:
    """Return nested values with each sharded tensor as {LOCAL: this rank's part, shape: whole}."""
    if is_shard(state):
        return {LOCAL: state.to_local().detach().clone(), "shape": list(state.shape)}
    if isinstance(state, Mapping):
        return {key: to_local(value) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return [to_local(value) for value in state]
    return state


def join(parts: list[Any]) -> Any:
    """Return nested values with the parts of all ranks joined; FSDP2 cuts the first dimension."""
    first = parts[0]
    if isinstance(first, Mapping) and LOCAL in first:
        return torch.cat([part[LOCAL] for part in parts]).reshape(first["shape"])
    if isinstance(first, Mapping):
        return {key: join([part[key] for part in parts]) for key in first}
    if isinstance(first, list):
        return [join(list(items)) for items in zip(*parts, strict=True)]
    return first


def read_shards(
    folder: Path, step: int, stored_world: int, rank: int, world_size: int, whole: bool
) -> Any:
    """Return this rank's part of the state, or all of it.

    Args:
        folder, step: of the checkpoint.
        stored_world: ranks that wrote it.
        rank, world_size: of this process.
        whole: join all parts, for a model that is not sharded; done as well when another number of
            ranks wrote them.

    Raises:
        CheckpointError: a file is missing or damaged.
    """
    if stored_world == world_size and not whole:
        return load_checkpoint_file(shard_path(folder, step, rank, stored_world))
    paths = [shard_path(folder, step, other, stored_world) for other in range(stored_world)]
    return join([load_checkpoint_file(path) for path in paths])


def _as_dtensor(value: Any, own: Any) -> Any:
    """Return a part or a whole tensor sharded as the tensor `own` is."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if isinstance(value, Mapping) and LOCAL in value:
        local = value[LOCAL].to(own.device)
        return DTensor.from_local(
            local, own.device_mesh, own.placements, shape=own.shape, stride=own.stride()
        )
    if is_shard(own) and isinstance(value, torch.Tensor) and value.shape == own.shape:
        return distribute_tensor(value.to(own.device), own.device_mesh, own.placements)
    return value


@torch.no_grad()
def load_tensors(target: Mapping[str, torch.Tensor], stored: Mapping[str, Any]) -> None:
    """Copy stored parts or whole tensors into `target` (a state dict), in place.

    Raises:
        KeyError: a stored name is not in `target`.
    """
    for name, value in stored.items():
        target[name].copy_(_as_dtensor(value, target[name]))


def load_optimizer(optimizer: torch.optim.Optimizer, stored: Mapping[str, Any]) -> None:
    """Give a fresh optimiser its stored state, sharded as its parameters are."""
    parameters: list[nn.Parameter] = [p for g in optimizer.param_groups for p in g["params"]]
    state = {
        index: {key: _as_dtensor(value, parameters[index]) for key, value in entry.items()}
        for index, entry in stored["state"].items()
    }
    optimizer.load_state_dict({**stored, "state": state})
