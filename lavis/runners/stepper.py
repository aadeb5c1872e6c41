"""One optimiser step: accumulate batches, guard, clip, update.

Correct for one process and DDP, CPU and CUDA, float32, bf16 and fp16. A loss or gradient that is
not finite is agreed on by all ranks before the update, so that no rank updates alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from lavis.common.dist_utils import all_gather_object_list, is_dist_avail_and_initialized
from lavis.common.errors import NonFiniteLossError, explain
from lavis.datasets.data_utils import move_to_device

LOGGED = ("temperature", "temp")


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
    """

    values: dict[str, Any] = field(default_factory=dict)
    objects: int = 0
    wait: float = 0.0


class Stepper:
    """Runs optimiser steps of `task.train_step` on `model`.

    Args:
        model: the model, wrapped in DDP or not, on its device.
        task: has `train_step(model, samples)` -> loss tensor, or mapping with "loss".
        optimizer: over the trainable parameters.
        precision: autocast and scaling.
        device: where batches go.
        grad_clip: largest gradient norm; None: no clipping.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Any,
        optimizer: torch.optim.Optimizer,
        precision: Precision,
        device: torch.device,
        grad_clip: float | None = None,
    ) -> None:
        self.model, self.task, self.optimizer = model, task, optimizer
        self.precision, self.device, self.grad_clip = precision, device, grad_clip

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
            NonFiniteLossError: a loss or gradient is NaN or infinite on any rank. Weights are those
                before this step; the message names the samples of every affected rank.
        """
        result, losses, instances = StepResult(), [], []
        for index in range(count):
            started = time.perf_counter()
            samples = next(batches)
            result.wait += time.perf_counter() - started
            instances += _instance_ids(samples)
            samples = move_to_device(samples, self.device)
            if isinstance(samples, dict):
                samples.update(context)
            values = self._backward(samples, count, last=index == count - 1)
            losses.append(values["loss"])
            result.objects += _batch_size(samples)
            for name, value in values.items():
                result.values[name] = result.values.get(name, 0.0) + value / count
        result.values["grad_norm"] = self._update(torch.stack(losses), instances, where)
        return result

    def _backward(self, samples: Any, count: int, last: bool) -> dict[str, Any]:
        """Run one batch forward and backward; ranks exchange gradients at the last one only."""
        wrapped = self.model if isinstance(self.model, DistributedDataParallel) else None
        with nullcontext() if last or wrapped is None else wrapped.no_sync():
            with self.precision.autocast():
                output = self.task.train_step(model=self.model, samples=samples)
            output = output if isinstance(output, Mapping) else {"loss": output}
            loss = output["loss"] / count
            scaler = self.precision.scaler
            (scaler.scale(loss) if scaler is not None else loss).backward()
        return {
            name: value.detach().float() if isinstance(value, torch.Tensor) else float(value)
            for name, value in output.items()
            if value is not None and (name.startswith("loss") or name in LOGGED)
        }

    def _update(self, losses: torch.Tensor, instances: list[str], where: str) -> torch.Tensor:
        """Guard, clip and update; return the gradient norm before clipping."""
        scaler = self.precision.scaler
        if scaler is not None:
            scaler.unscale_(self.optimizer)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        parameters = [p for p in parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters])
        finite = torch.isfinite(losses).all()
        if (
            scaler is None
        ):  # in fp16 an overflow is expected now and then: the scaler skips the step
            finite = finite & torch.isfinite(norm).to(finite.device)
        self._agree_finite(finite, losses, norm, instances, where)
        if self.grad_clip is not None:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.grad_clip, norm)
        if scaler is not None:
            scaler.step(self.optimizer)
            scaler.update()
        else:
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def _agree_finite(
        self,
        finite: torch.Tensor,
        losses: torch.Tensor,
        norm: torch.Tensor,
        instances: list[str],
        where: str,
    ) -> None:
        """Raise on every rank when any rank found a value that is not finite."""
        flag = (~finite).to(torch.int32)
        if is_dist_avail_and_initialized():
            dist.all_reduce(flag, op=dist.ReduceOp.MAX)
        if not flag.item():
            return
        found = {"loss": losses.tolist(), "instance_ids": instances}
        bad_here = not bool(torch.isfinite(losses).all())
        reports = [
            report for report in all_gather_object_list(found if bad_here else None) if report
        ]
        got = reports or f"finite losses, gradient norm {norm.item()}; samples here: {instances}"
        self.optimizer.zero_grad(set_to_none=True)
        raise NonFiniteLossError(
            explain(
                "the loss or a gradient is not finite; the weights were not updated",
                where=where,
                got=got,
                fix="look at these samples, lower run.init_lr, or set run.grad_clip",
            )
        )


def _instance_ids(samples: Any) -> list[str]:
    """Return the ids of a batch's samples, [] when it has none."""
    ids = samples.get("instance_id", []) if isinstance(samples, Mapping) else []
    return [str(item) for item in (ids.tolist() if isinstance(ids, torch.Tensor) else ids)]


def _batch_size(samples: Any) -> int:
    """Return the number of samples of a collated batch."""
    values = samples.values() if isinstance(samples, Mapping) else [samples]
    for value in values:
        if isinstance(value, (list, tuple)) or (isinstance(value, torch.Tensor) and value.ndim):
            return len(value)
    return 1
