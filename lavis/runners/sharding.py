"""The model over several processes: whole on each (DDP), or in shards (FSDP2)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel


@contextlib.contextmanager
def gradient_sync(model: nn.Module, wanted: bool) -> Iterator[None]:
    """Let ranks exchange gradients in the backward pass inside only when `wanted`."""
    if isinstance(model, DistributedDataParallel) and not wanted:
        with model.no_sync():
            yield
        return
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(wanted)
    yield


def unwrap(model: nn.Module) -> Any:
    """Return the model inside DDP; FSDP2 wraps in place."""
    return model.module if isinstance(model, DistributedDataParallel) else model
