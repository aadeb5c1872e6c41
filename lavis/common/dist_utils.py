"""Process groups on CPU and CUDA: replaces the stock module, which imports timm and assumes NCCL.

Every function works without a process group: rank 0 of world size 1. No global is replaced (stock
swaps `builtins.print`); output of the main process alone is guarded by `is_main_process()`.
"""

from __future__ import annotations

import datetime
import functools
import gc
import logging
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from lavis.common.arrivals import Arrivals
from lavis.common.errors import (
    CheckpointError,
    ConfigError,
    PointLanguageError,
    ProcessGroupError,
)
from lavis.common.fresh_store import fresh_store

T = TypeVar("T")

# Stock waits 365 days. Preparing data on rank 0 is the longest wait that a healthy run has.
TIMEOUT = datetime.timedelta(hours=2)
_arrivals: Arrivals | None = None  # of the group that `init_distributed_mode` joined


def is_dist_avail_and_initialized() -> bool:
    """Return whether a process group is up."""
    return dist.is_available() and dist.is_initialized()


def get_world_size() -> int:
    """Return the number of processes, 1 without a process group."""
    return dist.get_world_size() if is_dist_avail_and_initialized() else 1


def get_rank() -> int:
    """Return this process' rank, 0 without a process group."""
    return dist.get_rank() if is_dist_avail_and_initialized() else 0


def is_main_process() -> bool:
    """Return whether this is rank 0."""
    return get_rank() == 0


def get_dist_info() -> tuple[int, int]:
    """Return (rank, world size)."""
    return get_rank(), get_world_size()


def main_process(function: Callable[..., T]) -> Callable[..., T | None]:
    """Run the decorated function on rank 0 only; other ranks get None."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> T | None:
        return function(*args, **kwargs) if is_main_process() else None

    return wrapper


def resolve_device(requested: str = "auto") -> torch.device:
    """Return the device of this process: `auto` is CUDA (of the local rank) when there is one."""
    if requested in ("auto", "cuda"):
        if torch.cuda.is_available():
            return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        if requested == "cuda":
            raise ConfigError(
                "run.device is cuda, but torch sees no CUDA device",
                where="run.device",
                got="cuda",
                expected="auto or cpu on this machine",
                fix="pass --options run.device=auto, or install a CUDA build of torch",
            )
    return torch.device(requested if requested != "auto" else "cpu")


def init_distributed_mode(run_cfg: Any, timeout: datetime.timedelta = TIMEOUT) -> None:
    """Join the process group that `torch.distributed.run` (or Slurm) describes in the environment.

    Sets `distributed`, `rank`, `world_size` and `gpu` on `run_cfg`. Without those variables the run
    is one process. The back end is `run_cfg.dist_backend`, or nccl on CUDA and gloo elsewhere.

    Args:
        run_cfg: the run section.
        timeout: how long a rank waits for the others, now and in every collective.

    Raises:
        ProcessGroupError: the ranks did not find each other in time.
    """
    global _arrivals
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        local_rank = int(os.environ.get("LOCAL_RANK", rank))
    elif "SLURM_PROCID" in os.environ and int(os.environ.get("SLURM_NTASKS", 1)) > 1:
        rank, world_size = int(os.environ["SLURM_PROCID"]), int(os.environ["SLURM_NTASKS"])
        local_rank = int(os.environ.get("SLURM_LOCALID", 0))
        os.environ["LOCAL_RANK"] = str(local_rank)
    else:
        run_cfg.distributed = False
        return
    device = resolve_device(run_cfg.get("device", "auto"))
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = run_cfg.get("dist_backend") or ("nccl" if device.type == "cuda" else "gloo")
    url: str = run_cfg.get("dist_url", "env://")
    try:
        store, _, _ = next(dist.rendezvous(url, rank, world_size, timeout=timeout))
        store = fresh_store(store, rank, world_size, timeout)
        dist.init_process_group(
            backend, timeout=timeout, world_size=world_size, rank=rank, store=store
        )
    except RuntimeError as error:  # all that torch.distributed raises
        raise ProcessGroupError(
            "the ranks of this run did not find each other",
            where=f"rank {rank} of {world_size}",
            got=str(error).strip().splitlines()[0],
            expected=f"all {world_size} ranks within {timeout}",
            fix="look at the output of the other ranks, and at --nproc_per_node",
        ) from error
    _arrivals = Arrivals(store, rank, world_size, timeout)
    run_cfg.distributed, run_cfg.rank = True, rank
    run_cfg.world_size, run_cfg.gpu = world_size, local_rank


def waiting(what: str) -> AbstractContextManager[None]:
    """Return a context for one collective, in which a time-out is our error (arrivals.py)."""
    if _arrivals is not None:
        return _arrivals.waiting(what)
    return Arrivals(None, get_rank(), get_world_size()).waiting(
        what
    )  # a group that other code made


def barrier() -> None:
    """Wait for every process; return at once without a process group."""
    if is_dist_avail_and_initialized():
        with waiting("a barrier"):
            dist.barrier()


def broadcast_object(value: T, source: int = 0) -> T:
    """Return the source rank's value on every rank."""
    if not is_dist_avail_and_initialized():
        return value
    box = [value]
    with waiting(f"a broadcast of rank {source}"):
        dist.broadcast_object_list(box, src=source)
    return box[0]


def from_main(function: Callable[[], T]) -> T:
    """Return rank 0's result of `function` on every rank; raise its PointLanguageError on all."""
    result: T | None = None
    error: PointLanguageError | None = None
    if is_main_process():
        try:
            result = function()
        except PointLanguageError as caught:
            error = caught
    result, error = broadcast_object((result, error))
    if error is not None:
        raise error
    return result  # type: ignore[return-value]


def all_gather_object_list(value: T) -> list[T]:
    """Return every rank's value, in rank order, on every rank."""
    if not is_dist_avail_and_initialized():
        return [value]
    gathered: list[Any] = [None] * get_world_size()
    with waiting("an exchange between all ranks"):
        dist.all_gather_object(gathered, value)
    return gathered


def gather_object_list(value: T) -> list[T]:
    """Return every rank's value, in rank order, on rank 0; other ranks get an empty list."""
    if not is_dist_avail_and_initialized():
        return [value]
    gathered: list[Any] | None = [None] * get_world_size() if is_main_process() else None
    with waiting("a gathering on rank 0"):
        dist.gather_object(value, gathered)
    return gathered or []


def destroy() -> None:
    """Leave the process group in order, so that no rank aborts at exit."""
    if is_dist_avail_and_initialized():
        barrier()
        dist.destroy_process_group()


def leave(code: int = 0, in_order: bool | None = None) -> None:
    """End this process with `code`; as a member of a process group, leave the group first.

    Args:
        code: exit status.
        in_order: every rank calls this, so wait for all of them; None: when `code` is 0.

    Gloo's threads are joined by C++ destructors that run in no fixed order at interpreter exit, so
    a rank sometimes aborts after all work is done ("terminate called without an active exception").
    Therefore the group is left first (not after an error, when other ranks may be stuck), output is
    flushed, and the process ends without those destructors.
    """
    if not is_dist_avail_and_initialized():
        if code:
            sys.exit(code)
        return
    gc.collect()
    if in_order if in_order is not None else code == 0:
        destroy()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def download_cached_file(url: str, check_hash: bool = True, progress: bool = False) -> str:
    """Refuse to download: stock `BaseModel.load_checkpoint` calls this for http addresses."""
    raise CheckpointError(
        "a checkpoint given as an address is not fetched by this project",
        got=url,
        expected="a file on this machine",
        fix="download it yourself and put its path into the yaml key",
    )
