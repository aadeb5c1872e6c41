"""Exponential moving average of the trained weights, evaluated in addition to them.

Running statistics of batch normalisation are averaged, too: they describe the activations of the
weights at each step, so averaged weights need averaged statistics. Counters, masks and other
buffers are not averaged; the model keeps its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import get_ema_multi_avg_fn

from lavis.runners.sharding import is_shard


def batch_statistics(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the running means and variances of batch normalisation by name."""
    found = {}
    for prefix, module in model.named_modules():
        if isinstance(module, _BatchNorm):
            for name in ("running_mean", "running_var"):
                value = getattr(module, name)
                if value is not None:
                    found[f"{prefix}.{name}" if prefix else name] = value
    return found


class Ema:
    """Average of the trainable parameters and the batch statistics of `model`.

    Args:
        model: unwrapped, on its device; it is read at every update.
        decay: weight of the average; update n takes at most (1+n)/(10+n) of it,
            so that the start is forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.values: dict[str, torch.Tensor] = trained | batch_statistics(model)
        self.average = {name: value.detach().clone() for name, value in self.values.items()}

    @torch.no_grad()
    def update(self, updates: int) -> None:
        """Move towards the model's weights; `updates` is the number of optimiser steps done."""
        decay = min(self.decay, (1 + updates) / (10 + updates))
        mix = get_ema_multi_avg_fn(decay)
        parts: list[tuple[list[torch.Tensor], list[torch.Tensor]]] = [([], []), ([], [])]
        for name, value in self.values.items():  # sharded and whole tensors do not mix
            averages, current = parts[is_shard(value)]
            averages.append(self.average[name])
            current.append(value.detach())
        for averages, current in parts:
            if averages:
                mix(averages, current, updates)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Give the model the averaged weights inside, its own ones afterwards."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, value in self.values.items():
            own = value.detach().clone()
            value.copy_(self.average[name])
            self.average[name].copy_(own)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the averages."""
        return dict(self.average)

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take stored averages.

        Raises:
            KeyError: a name of the model is missing.
        """
        for name, average in self.average.items():
            average.copy_(state[name])
