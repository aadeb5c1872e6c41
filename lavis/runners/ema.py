"""An exponential moving average of the trained weights, evaluated beside them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Ema:
    """Average of the trainable parameters of `model`.

    Args:
        model: unwrapped, on its device; it is read at every update.
        decay: weight of the average; update n takes at most (1+n)/(10+n) of it,
            so that the start is forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.average = {name: p.detach().clone() for name, p in self.parameters.items()}

    @torch.no_grad()
    def update(self, updates: int) -> None:
        """Move towards the model's weights; `updates` is the number of optimiser steps done."""
        decay = min(self.decay, (1 + updates) / (10 + updates))
        mix = get_ema_multi_avg_fn(decay)
        mix(list(self.average.values()), [p.detach() for p in self.parameters.values()], updates)

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
        for name, parameter in self.parameters.items():
            own = parameter.detach().clone()
            parameter.copy_(self.average[name])
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
