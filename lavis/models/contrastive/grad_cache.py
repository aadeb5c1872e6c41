"""Contrast between the micro-batches of a step, in the memory of one of them (GradCache).

    1. Encode each micro-batch without gradient, and keep its embeddings.
    2. Compute the contrastive losses over all embeddings, and the gradient of each embedding.
    3. Read and encode each micro-batch again; its embeddings receive their gradients.

The second pass repeats the random numbers of the first, so dropout is the same. The last
micro-batch keeps its graph from the first pass, so that it is encoded once. Losses that need more
than embeddings (matching, captioning) are computed within each micro-batch of the second pass.
Reference: Scaling Deep Contrastive Learning Batch Size (arXiv 2101.06983).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lavis.common import rng_state
from lavis.common.errors import ConfigError
from lavis.models.contrastive.info_nce import full_precision

Losses = dict[str, Tensor]


@dataclass
class Encoded:
    """A batch after the encoders.

    Attributes:
        embeds: what is contrasted, [B,...] by name; masks of absent modalities, too.
        rest: what the other losses of the batch read.
    """

    embeds: dict[str, Tensor]
    rest: Any = None


@runtime_checkable
class ContrastiveModel(Protocol):
    """A model whose micro-batches can be contrasted with each other.

    Attributes:
        contrasts: whether it does, as configured.
    """

    contrasts: bool

    def encode(self, samples: Mapping[str, Any]) -> Encoded:
        """Encode a batch."""
        ...

    def contrast(
        self, embeds: Mapping[str, Tensor], samples: Mapping[str, Any], rows: int | None = None
    ) -> Losses:
        """Contrast embeddings; `samples` holds the lists of the batch (texts, ids) alone.

        Entries that are not named `loss…`, such as a temperature, are logged and not summed.
        """
        ...

    def other_losses(self, encoded: Encoded, samples: Mapping[str, Any]) -> Losses:
        """Return the losses within a batch, {} where there are none."""
        ...

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum of losses."""
        ...


def require_contrastive(model: Any, key: str = "run.accumulate") -> ContrastiveModel:
    """Return the model, checked.

    Raises:
        ConfigError: it has no contrast between the items of a batch.
    """
    if isinstance(model, ContrastiveModel) and model.contrasts:
        return model
    raise ConfigError(
        "the model does not contrast the items of a batch",
        where=key,
        got=type(model).__name__,
        expected="a model with encode() and contrast(), and a contrastive loss",
        fix=f"{key}=gradients",
    )


def whole_batch(model: ContrastiveModel, samples: Mapping[str, Any]) -> Losses:
    """Return all losses of a batch that fits into memory, and `loss`, their weighted sum."""
    encoded = model.encode(samples)
    losses = model.contrast(encoded.embeds, samples) | model.other_losses(encoded, samples)
    return losses | {"loss": model.total(only_losses(losses))}


def only_losses(values: Mapping[str, Tensor]) -> Losses:
    """Return the entries that are losses, by name."""
    return {name: value for name, value in values.items() if name.startswith("loss")}


class Rows:
    """Tensors of growing batches, in one buffer per name.

    Small tensors of every micro-batch between the large ones that are freed would leave the heap in
    pieces that no large tensor fits into: its size would grow with the effective batch.
    """

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self._buffers: dict[str, Tensor] = {}

    def append(self, batch: Mapping[str, Tensor]) -> None:
        """Copy a batch [B,...] by name behind the others."""
        begin = sum(self.sizes)
        self.sizes.append(len(next(iter(batch.values()))))
        end = begin + self.sizes[-1]
        for name, rows in batch.items():
            buffer = self._buffers.get(name, rows[:0])
            if end > len(buffer):
                grown = rows.new_empty(2 * end, *rows.shape[1:])
                grown[:begin] = buffer[:begin]
                buffer = self._buffers[name] = grown
            buffer[begin:end] = rows

    def leaves(self) -> dict[str, Tensor]:
        """Return all rows by name, as leaves that receive gradients; masks receive none."""
        size = sum(self.sizes)
        whole = {name: buffer[:size] for name, buffer in self._buffers.items()}
        return {n: rows.requires_grad_(rows.is_floating_point()) for n, rows in whole.items()}


@dataclass
class GradCache:
    """The contrast of one optimiser step.

    Args:
        model: unwrapped.
        autocast: returns the context of forward passes.
        scale: multiplies a loss before its backward pass (fp16); identity elsewhere.
    """

    model: ContrastiveModel
    autocast: Callable[[], Any]
    scale: Callable[[Tensor], Tensor] = lambda loss: loss
    _rows: Rows = field(default_factory=Rows)
    _lists: list[dict[str, list[Any]]] = field(default_factory=list)
    _gradients: list[dict[str, Tensor]] = field(default_factory=list)  # not replayed yet
    _first: Any = None
    _random: Any = None
    _kept: tuple[Encoded, Any] | None = None  # the last micro-batch, random numbers behind it

    def add(self, samples: Mapping[str, Any], last: bool = False) -> None:
        """Encode a micro-batch and keep its embeddings and lists, and nothing else of it.

        Args:
            samples: micro-batch.
            last: nothing is added behind it; its graph is kept for `replay`.
        """
        with self._continued_randomness(), self.autocast(), torch.set_grad_enabled(last):
            encoded = self.model.encode(samples)
        self._rows.append({name: rows.detach() for name, rows in encoded.embeds.items()})
        self._kept = (encoded, self._random) if last else None
        self._lists.append({k: v for k, v in samples.items() if isinstance(v, list)})

    def contrast(self) -> Losses:
        """Compute the losses over all micro-batches and the gradient of every embedding."""
        leaves, sizes = self._rows.leaves(), self._rows.sizes
        lists = {
            key: [item for part in self._lists for item in part[key]] for key in self._lists[0]
        }
        with self.autocast():
            losses = self.model.contrast(leaves, lists, rows=max(sizes))
            loss = self.model.total(only_losses(losses))
        self.scale(loss).backward()
        parts = {
            name: (torch.zeros_like(leaf) if leaf.grad is None else leaf.grad).split(sizes)
            for name, leaf in leaves.items()
        }
        self._gradients = [{n: parts[n][k] for n in parts} for k in range(len(sizes))]
        self._random = self._first
        return {name: value.detach() for name, value in losses.items()} | {"loss": loss.detach()}

    def replay(self, samples: Mapping[str, Any]) -> Losses:
        """Encode the next micro-batch, in the order of `add`, and send its gradients back.

        Returns:
            The losses within the micro-batch, and their weighted sum `loss`; {} without any.
        """
        gradients = self._gradients.pop(0)
        with self.autocast(), statistics_kept(self.model):
            encoded = self._encode_again(samples)
            losses = self.model.other_losses(encoded, samples)
        parts = [
            (full_precision(embeds) * full_precision(gradients[name])).sum()
            for name, embeds in encoded.embeds.items()
            if embeds.requires_grad
        ]
        if losses:
            total = self.model.total(losses)
            parts.append(self.scale(total / len(self._rows.sizes)))
            losses = losses | {"loss": total}
        if parts:
            torch.stack(parts).sum().backward()
        return {name: value.detach() for name, value in losses.items()}

    def _encode_again(self, samples: Mapping[str, Any]) -> Encoded:
        """Encode with the random numbers of the first pass, or return the kept micro-batch."""
        if self._kept is None or self._gradients:
            with self._continued_randomness():
                return self.model.encode(samples)
        encoded, random = self._kept
        rng_state.restore(random)
        return encoded

    @contextlib.contextmanager
    def _continued_randomness(self) -> Iterator[None]:
        """Continue the random numbers of the pass, whatever was drawn between its micro-batches."""
        if self._random is None:
            self._first = rng_state.capture()
        else:
            rng_state.restore(self._random)
        yield
        self._random = rng_state.capture()


@contextlib.contextmanager
def statistics_kept(model: Any) -> Iterator[None]:
    """Leave running statistics as they are inside: the second pass sees every batch again."""
    layers = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True


def average_gradients(parameters: list[nn.Parameter], world_size: int) -> None:
    """Average gradients over ranks, as DDP does; every rank must call.

    A parameter that no rank has a gradient of stays without one.
    """
    import torch.distributed as dist

    if world_size == 1:
        return
    device = parameters[0].device
    used = torch.tensor([float(p.grad is not None) for p in parameters], device=device)
    dist.all_reduce(used)
    for parameter, count in zip(parameters, used.tolist(), strict=True):
        if count:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            dist.all_reduce(parameter.grad)
            parameter.grad /= world_size
