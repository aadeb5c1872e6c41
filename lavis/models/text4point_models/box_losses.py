"""Targets and losses of detection (VoteNet, arXiv 1904.09664, section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lavis.models.text4point_models.boxes import aligned_iou, inside
from lavis.models.text4point_models.votes import Proposals


class Matches(NamedTuple):
    """The annotated box of each proposal of one scene.

    Attributes:
        box: Long [P], the nearest box.
        positive: bool [P], close to its centre.
        negative: bool [P], far from it; neither: not judged.
    """

    box: Tensor
    positive: Tensor
    negative: Tensor


def match(near: Tensor, boxes: Tensor, close: float, far: float) -> Matches:
    """Match pooled votes [P,3] with boxes [K,6|7] by distance to the centre, metres."""
    if not len(boxes):
        none = torch.zeros(len(near), dtype=torch.int64, device=near.device)
        return Matches(none, none.bool(), ~none.bool())
    distance, box = torch.cdist(near, boxes[:, :3]).min(dim=1)
    return Matches(box, distance < close, distance > far)


def vote_targets(xyz: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Return centres of the smallest boxes around seeds [S,3], and which have one [S]."""
    if not len(boxes):
        return torch.zeros_like(xyz), torch.zeros(len(xyz), dtype=torch.bool, device=xyz.device)
    within = inside(xyz, boxes)
    volume = boxes[:, 3:6].prod(-1).expand_as(within)
    smallest = volume.masked_fill(~within, torch.inf).argmin(dim=1)
    return boxes[smallest, :3], within.any(1)


def detection_losses(
    proposals: Proposals,
    seed_xyz: Tensor,
    logits: Tensor,
    boxes: Sequence[Tensor],
    labels: Sequence[Tensor],
    close: float,
    far: float,
) -> dict[str, Tensor]:
    """Return the losses of a batch: means over the seeds, or proposals, that they judge.

    Args:
        proposals: of B scenes.
        seed_xyz: [B,S,3].
        logits: of the proposals' classes [B,P,K].
        boxes: per scene [M,6|7], M may be 0.
        labels: per scene Long [M].
        close, far: metres; a proposal nearer than `close` to a centre is an object, one farther
            than `far` is none.

    Returns:
        loss_vote, loss_objectness, loss_box, loss_class.
    """
    sums: dict[str, list[Tensor]] = {}
    for row, (own, label) in enumerate(zip(boxes, labels, strict=True)):
        parts = _scene_sums(
            proposals.scene(row), seed_xyz[row], logits[row], own, label, close, far
        )
        for name, value in parts.items():
            sums.setdefault(name, []).append(value)
    totals = {name: torch.stack(values).sum(0) for name, values in sums.items()}  # [2]
    return {name: total[0] / total[1].clamp(min=1) for name, total in totals.items()}


def _scene_sums(
    one: Proposals,
    seed_xyz: Tensor,
    logits: Tensor,
    boxes: Tensor,
    labels: Tensor,
    close: float,
    far: float,
) -> dict[str, Tensor]:
    """Return [2] for each loss of one scene: its sum, and what it is divided by."""
    centre, voted = vote_targets(seed_xyz, boxes)
    vote = (one.votes - centre).abs().sum(-1)[voted]
    found = match(one.near, boxes, close, far)
    good, judged = found.positive, found.positive | found.negative
    objectness = F.binary_cross_entropy_with_logits(
        one.objectness[judged], good[judged].float(), reduction="sum"
    )
    target, label = boxes[found.box[good]], labels[found.box[good]]
    box = _box_loss(one.boxes[good], target, None if one.turn is None else one.turn[good])
    kind = F.cross_entropy(logits[good].float(), label, reduction="sum")
    pairs = {"loss_vote": (vote.sum(), voted), "loss_objectness": (objectness, judged)}
    pairs |= {"loss_box": (box, good), "loss_class": (kind, good)}
    return {name: torch.stack([value, mask.sum()]) for name, (value, mask) in pairs.items()}


def _box_loss(boxes: Tensor, target: Tensor, turn: Tensor | None) -> Tensor:
    """Return the sum over boxes [M,6|7]: centre, logarithm of the size, overlap, turn."""
    loss = F.smooth_l1_loss(boxes[:, :3], target[:, :3], reduction="sum", beta=0.1)
    size, wanted = boxes[:, 3:6].log(), target[:, 3:6].clamp(min=0.01).log()
    loss = loss + F.smooth_l1_loss(size, wanted, reduction="sum", beta=0.1)
    if turn is None:
        return loss + (1 - aligned_iou(boxes, target[:, :6])).sum()
    angle = 2 * (target[:, 6] if target.shape[1] == 7 else torch.zeros_like(target[:, 0]))
    return loss + (turn - torch.stack([angle.cos(), angle.sin()], dim=-1)).abs().sum()
