"""One optimiser step: accumulate batches, guard, clip, update.

Correct for one process, DDP and FSDP2, CPU and CUDA, float32, bf16 and fp16. A loss or gradient
that is not finite is agreed on by all ranks before the update (`guard`), so that no rank updates
alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from lavis.common.dist_utils import get_world_size
from lavis.datasets.data_utils import move_to_device
from lavis.datasets.samples import batch_size, instance_ids
from lavis.models.contrastive.grad_cache import GradCache, average_gradients
from lavis.runners.guard import Guard
from lavis.runners.sharding import gradient_sync, is_shard, unwrap


@dataclass
class Precision:
    """Autocast and loss scaling of a run.

    Attributes:
        device_type: "cpu" or "cuda".
        dtype: autocast type; None: full precision.
        scaler: scales the loss in fp16 only; bf16 has the range of float32.
    """

    device_type: str
    dtype: torch.dtype | None = None
    scaler: torch.amp.GradScaler | None = None

    def autocast(self) -> Any:
        """Return the context for a forward pass."""
        if self.dtype is None:
            return nullcontext()
        return torch.autocast(self.device_type, dtype=self.dtype)


@dataclass
class StepResult:
    """What one optimiser step reports.

    Attributes:
        values: means over the accumulated batches (tensors on the device) and the gradient norm.
        objects: samples of this rank.
        wait: seconds spent waiting for data.
        signum: signal that some rank received, upon which all save and leave; 0: none.
        skipped: why the update was left out, rank by rank; [] when it was made.
    """

    values: dict[str, Any] = field(default_factory=dict)
    objects: int = 0
    wait: float = 0.0
    signum: int = 0
    skipped: list[dict[str, Any]] = field(default_factory=list)

    def add(self, values: Mapping[str, Any], count: int) -> None:
        """Add the values of one of `count` batches to the means."""
        for name, value in values.items():
            self.values[name] = self.values.get(name, 0.0) + value / count


class Stepper:
    """Runs optimiser steps of `task.train_step` on `model`.

    Args:
        model: the model, wrapped or not, on its device.
        task: has `train_step(model, samples)` -> loss tensor, or mapping with "loss".
        optimizer: over the trainable parameters.
        precision: autocast and scaling.
        device: where batches go.
        grad_clip: largest gradient norm; None: no clipping.
        guard: reaches a joint decision of all ranks before the update; None: stop at non-finite
            losses or gradients.
        on_phase: called with "data" before waiting for a batch and "step" before computing.
        again: yields the same batches once more; then the batches of a step are contrasted with
            each other (`grad_cache.py`). None: their gradients are averaged.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Any,
        optimizer: torch.optim.Optimizer,
        precision: Precision,
        device: torch.device,
        grad_clip: float | None = None,
        guard: Guard | None = None,
        on_phase: Callable[[str], None] = lambda phase: None,
        again: Iterator[Any] | None = None,
    ) -> None:
        self.model, self.task, self.optimizer = model, task, optimizer
        self.precision, self.device, self.grad_clip = precision, device, grad_clip
        self.guard, self.on_phase, self.again = guard or Guard(), on_phase, again

    def step(
        self, batches: Iterator[Any], count: int, context: Mapping[str, Any], where: str
    ) -> StepResult:
        """Accumulate `count` batches and update once.

        Args:
            batches: yields collated samples.
            count: batches of this step; the last step of an epoch may have fewer.
            context: entries added to every batch (epoch, iters), as stock LAVIS does.
            where: epoch and step, for messages.

        Raises:
            NonFiniteLossError: a loss or gradient is NaN or infinite on any rank and the guard does
                not skip. Weights are those before this step; the message names the samples of
                every affected rank.
        """
        self.guard.before_step(self.model)
        result = StepResult()
        losses: list[torch.Tensor] = []
        instances: list[str] = []
        if self.again is not None:
            losses, instances = self._contrast(batches, count, context, result)
        for index in range(count if self.again is None else 0):
            samples = self._fetch(batches, context, result)
            instances += instance_ids(samples)
            values = self._backward(samples, count, last=index == count - 1)
            losses.append(values["loss"])
            result.objects += batch_size(samples)
            result.add(values, count)
        self._update(result, torch.stack(losses), instances, where)
        return result

    def _contrast(
        self, batches: Iterator[Any], count: int, context: Mapping[str, Any], result: StepResult
    ) -> tuple[list[torch.Tensor], list[str]]:
        """Contrast batches with each other; returns the losses and the samples' ids."""
        scaler = self.precision.scaler
        scale = scaler.scale if scaler is not None else lambda loss: loss
        cache = GradCache(unwrap(self.model), self.precision.autocast, scale)
        instances: list[str] = []
        for index in range(count):
            samples = self._fetch(batches, context, result)
            instances += instance_ids(samples)
            result.objects += batch_size(samples)
            cache.add(samples, last=index == count - 1)
        del samples  # the second pass reads it again
        values = cache.contrast()
        losses = [values["loss"]]
        result.add(values, 1)
        for _ in range(count):
            values = cache.replay(self._fetch(self.again, context, result))
            losses += [values["loss"]] if values else []
            result.add(values, count)
        average_gradients([p for p in self.model.parameters() if p.requires_grad], get_world_size())
        return losses, instances

    def _fetch(
        self, batches: Iterator[Any] | None, context: Mapping[str, Any], result: StepResult
    ) -> Any:
        """Return the next batch on the device, with the entries of `context`."""
        started = time.perf_counter()
        self.on_phase("data")
        samples = next(batches)  # type: ignore[arg-type]
        self.on_phase("step")
        result.wait += time.perf_counter() - started
        samples = move_to_device(samples, self.device)
        if isinstance(samples, dict):
            samples.update(context)
        return samples

    def _backward(self, samples: Any, count: int, last: bool) -> dict[str, Any]:
        """Run one batch forward and backward; ranks exchange gradients at the last one only."""
        with gradient_sync(self.model, wanted=last):
            with self.precision.autocast():
                output = self.task.train_step(model=self.model, samples=samples)
            output = output if isinstance(output, Mapping) else {"loss": output}
            loss = output["loss"] / count
            scaler = self.precision.scaler
            (scaler.scale(loss) if scaler is not None else loss).backward()
        return scalars(output)

    def _update(
        self, result: StepResult, losses: torch.Tensor, instances: list[str], where: str
    ) -> None:
        """Guard, clip and update; note the gradient norm before clipping."""
        scaler = self.precision.scaler
        if scaler is not None:
            scaler.unscale_(self.optimizer)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        parameters = [p for p in parameters if p.grad is not None]
        norm = total_norm(parameters)
        finite = torch.isfinite(losses).all()
        if scaler is None:
            # in fp16 an occasional overflow is expected: the scaler skips the step
            finite = finite & torch.isfinite(norm).to(finite.device)
        verdict = self.guard.agree(finite)
        result.signum = verdict.signum
        if verdict.sound:
            self.guard.skipped_in_row = 0
            result.values["grad_norm"] = norm
            self._apply(parameters, norm)
        else:
            self.optimizer.zero_grad(set_to_none=True)
            if scaler is not None:
                scaler.update()
            result.skipped = self.guard.refuse(losses, norm, instances, where)
            result.values = {}  # a mean with a NaN in it would hide the others

    def _apply(self, parameters: list[nn.Parameter], norm: torch.Tensor) -> None:
        """Clip and update."""
        scaler = self.precision.scaler
        if self.grad_clip is not None:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.grad_clip, norm)
        if scaler is not None:
            scaler.step(self.optimizer)
            scaler.update()
        else:
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def scalars(output: Mapping[str, Any]) -> dict[str, Any]:
    """Return every scalar that a model reports, tensors detached in float32."""
    found: dict[str, Any] = {}
    for name, value in output.items():
        if isinstance(value, torch.Tensor) and value.numel() == 1:
            found[name] = value.detach().float().reshape(())
        elif isinstance(value, (int, float)):
            found[name] = float(value)
    return found


def total_norm(parameters: list[nn.Parameter]) -> torch.Tensor:
    """Return the 2-norm of all gradients, over all shards when they are sharded."""
    norm: Any = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    return norm.full_tensor() if is_shard(norm) else norm
