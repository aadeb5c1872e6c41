"""Agreement of all ranks before every update: is the step finite, and should the run stop.

One all-reduce of two integers before the update, so that no rank updates, saves or leaves alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from lavis.common.dist_utils import (
    all_gather_object_list,
    get_rank,
    is_dist_avail_and_initialized,
)
from lavis.common.errors import NonFiniteLossError
from lavis.common.preemption import StopRequest


@dataclass
class Verdict:
    """What the ranks agreed on.

    Attributes:
        sound: losses and gradients are finite on every rank.
        signum: largest signal that any rank received, 0 for none.
    """

    sound: bool
    signum: int


@dataclass
class Guard:
    """Agrees on each step and acts on one that is not finite.

    Attributes:
        policy: "stop" raises; "skip" leaves the weights unchanged and continues.
        max_skipped: skips in a row that are too many.
        stop: notes signals; None: never asked.
        skipped_in_row: so far.
    """

    policy: str = "stop"
    max_skipped: int = 10
    stop: StopRequest | None = None
    skipped_in_row: int = 0
    _buffers: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)

    def before_step(self, model: nn.Module) -> None:
        """Copy the buffers if the step may be skipped: a bad batch changes the running statistics
        of batch normalisation before its loss is known."""
        if self.policy == "skip":
            self._buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]

    def agree(self, finite: torch.Tensor) -> Verdict:
        """Return the verdict of all ranks (every rank must call)."""
        signum = self.stop.signum if self.stop is not None else 0
        if not is_dist_avail_and_initialized():
            return Verdict(bool(finite), signum)
        notes = torch.stack(
            [(~finite).to(torch.int32), finite.new_tensor(signum, dtype=torch.int32)]
        )
        dist.all_reduce(notes, op=dist.ReduceOp.MAX)
        bad, agreed = notes.tolist()
        return Verdict(not bad, agreed)

    def refuse(
        self, losses: torch.Tensor, norm: torch.Tensor, instances: list[str], where: str
    ) -> list[dict[str, Any]]:
        """Undo the changes of the step other than gradients; return the fault of each rank.

        Raises:
            NonFiniteLossError: the policy is to stop, or too many steps were skipped in a row.
        """
        with torch.no_grad():
            for buffer, before in self._buffers:
                buffer.copy_(before)
        found = {"rank": get_rank(), "loss": losses.tolist(), "instance_ids": instances}
        everyone = all_gather_object_list(found | {"bad": not bool(torch.isfinite(losses).all())})
        guilty = [report for report in everyone if report.pop("bad")]
        # A gradient is summed over the ranks: when no loss is bad, any sample may be the cause.
        reports = guilty or everyone
        self.skipped_in_row += 1
        if self.policy == "skip" and self.skipped_in_row <= self.max_skipped:
            return reports
        more = f" {self.skipped_in_row} times in a row" if self.policy == "skip" else ""
        raise NonFiniteLossError(
            f"the loss or a gradient is not finite{more}; the weights were not updated",
            where=where,
            got=guilty or f"finite losses, gradient norm {norm.item()}; samples: {everyone}",
            fix="look at these samples, lower run.init_lr, set run.grad_clip, or leave such "
            "steps out with run.on_nonfinite=skip",
        )
