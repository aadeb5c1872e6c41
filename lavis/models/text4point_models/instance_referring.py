"""Text4Point refers by choosing among the instances that it finds: a sentence -> one of them.

Not in the paper. Two steps, as in ScanRefer (arXiv 1912.08830) and InstanceRefer (arXiv
2103.01128): `text4point_instances`, frozen, finds instances; a trained head (choice_head.py)
compares their boxes, colours, features and probable names with the sentence and with each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lavis.common.registry import registry
from lavis.config import option
from lavis.models.abilities import ReferringSegmenter
from lavis.models.text4point_models.choice_head import Candidates, ChoiceHead
from lavis.models.text4point_models.instances import InstancesConfig, Text4PointInstances
from lavis.models.text4point_models.sentences import (
    distinct_scenes,
    meant_points,
    sentence_words,
)

_LOOKS = 7  # mean and deviation of three colours, logarithm of the number of points


@dataclass(frozen=True)
class InstanceReferringConfig(InstancesConfig):
    """Keys of `text4point_instance_referring`.

    Attributes:
        width: of the head.
        depth: layers in which instances, sentence and words attend to each other.
        head_heads: heads of attention of these layers.
        dropout: in these layers.
        least_overlap: with the object, from which training calls an instance right.
    """

    width: int = option(128, low=1)
    depth: int = option(3, low=1)
    head_heads: int = option(4, low=1)
    dropout: float = option(0.1, low=0.0, high=1.0)
    least_overlap: float = option(0.25, low=0.0, high=1.0)


class Found(NamedTuple):
    """The instances of S scenes, at most M each.

    Attributes:
        candidates: what the head reads of them.
        masks: bool [S,M,N].
    """

    candidates: Candidates
    masks: Tensor


@registry.register_model("text4point_instance_referring")
class Text4PointInstanceReferring(Text4PointInstances):
    """Frozen instance segmentation, and a head that reads a sentence.

    Args:
        config: see `InstanceReferringConfig`.
    """

    abilities: tuple[type, ...] = (*Text4PointInstances.abilities, ReferringSegmenter)
    config_class: type[InstanceReferringConfig] = InstanceReferringConfig
    config: InstanceReferringConfig
    starts_with = (*Text4PointInstances.starts_with, "to_label.", "to_offset.")
    PRETRAINED_MODEL_CONFIG_DICT = {  # noqa: RUF012 (the LAVIS convention)
        "rooms": "configs/models/text4point/instance_referring_rooms.yaml",
    }

    def __init__(self, config: InstanceReferringConfig) -> None:
        super().__init__(config)
        self.requires_grad_(False)
        self.choice_head = ChoiceHead(
            self.network.point_dim + _LOOKS,
            config.embed_dim,
            sentence_words(self.text_teacher, ["a chair"])[0].shape[-1],
            config.width,
            config.depth,
            config.head_heads,
            config.dropout,
        )

    def train(self, mode: bool = True) -> Text4PointInstanceReferring:
        """Set the mode of the head; the rest is frozen and stays in evaluation mode."""
        super().train(False)
        self.training = mode
        self.choice_head.train(mode)
        return self

    def forward(self, samples: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return `loss_choice` and the same as `loss`.

        Cross-entropy with the instances that overlap the object by `least_overlap`, by the square
        of their overlaps; sentences without one do not count.

        Args:
            samples: see `read_scene`; `text_input`, B sentences; `instance_label` Long [B,N] and
                `target_instance` Long [B].

        Raises:
            DataError: no targets in the batch, or an empty sentence.
        """
        meant = meant_points(samples, self.device)
        logits, masks = self._choices(samples)
        loss = choice_loss(logits, overlaps(masks, meant), self.config.least_overlap)
        return {"loss": loss, "loss_choice": loss}

    @torch.no_grad()
    def refer(self, batch: Mapping[str, Any]) -> Tensor:
        """Return [B,N]: 1 for the points of the instance that `text_input` means, else -1.

        Raises:
            DataError: an empty sentence.
        """
        logits, masks = self._choices(batch)
        if not masks.shape[1]:
            return logits.new_full(batch["point_cloud"].shape[:2], -1.0)
        rows = torch.arange(len(masks), device=masks.device)
        return masks[rows, logits.argmax(1)].float() * 2 - 1

    def _choices(self, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Return logits [B,M] of the instances of each sentence's scene, and masks [B,M,N]."""
        words = sentence_words(self.text_teacher, batch["text_input"])
        scenes, scene_of = distinct_scenes(batch)
        found, rows = self._find(scenes), scene_of.to(self.device)
        return self.choice_head(found.candidates, *words, rows), found.masks[rows]

    @torch.no_grad()
    def _find(self, scenes: Mapping[str, Any]) -> Found:
        """Find the instances of S scenes and describe them."""
        scene = self.read_scene(scenes)
        cloud = scenes["point_cloud"].to(self.device)
        rgb = cloud[..., 3:6].float() if cloud.shape[-1] == 6 else torch.full_like(scene.xyz, 0.5)
        size = scene.xyz.shape[1]
        boxes, looks, names, masks = [], [], [], []
        for row, (instances, xyz) in enumerate(self._grouped(scene)):
            own = torch.from_numpy(instances.masks).to(self.device)  # [M,n]
            places, n = torch.from_numpy(xyz).to(self.device), own.shape[1]
            boxes.append(boxes_from_floor(places, own))
            share = own.float() / own.sum(1, keepdim=True)  # [M,n]
            mean, square = share @ rgb[row, :n], share @ rgb[row, :n].square()
            deviation = (square - mean.square()).clamp(min=0).sqrt()
            count = own.sum(1, keepdim=True).float().log()
            features = share @ scene.features[row, :n].float()
            looks.append(torch.cat([mean, deviation, count, features], -1))
            probable = torch.from_numpy(instances.probabilities).to(self.device)
            names.append(probable @ scene.text.float())
            masks.append(F.pad(own, (0, size - n)))
        real = [torch.ones(len(mask), dtype=torch.bool, device=self.device) for mask in masks]
        padded = (padded_rows(part) for part in (boxes, looks, names, real))
        return Found(Candidates(*padded), padded_rows(masks))


def boxes_from_floor(xyz: Tensor, masks: Tensor) -> Tensor:
    """Return centre and size of the boxes around masks bool [M,N] of points [N,3]: [M,6].

    Centres are from the middle of the scene's floor; y is up.
    """
    low, high = xyz.amin(0), xyz.amax(0)
    origin = torch.stack([(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2])
    ends = [(xyz[mask].amin(0), xyz[mask].amax(0)) for mask in masks]
    boxes = [torch.cat([(first + last) / 2 - origin, last - first]) for first, last in ends]
    return torch.stack(boxes) if boxes else xyz.new_zeros(0, 6)


def padded_rows(parts: list[Tensor]) -> Tensor:
    """Stack tensors [M_s,...] with zeros behind the shorter ones: [S,M,...]."""
    return torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)


def overlaps(masks: Tensor, meant: Tensor) -> Tensor:
    """Return the intersection over union of masks bool [B,M,N] and meant points [B,N]: [B,M]."""
    common = (masks & meant[:, None]).sum(-1)
    union = (masks | meant[:, None]).sum(-1)
    return common / union.clamp(min=1)


def choice_loss(logits: Tensor, overlap: Tensor, least: float) -> Tensor:
    """Return the mean cross-entropy of sentences that an instance fits; 0 where none does.

    Args:
        logits, overlap: [B,M].
        least: overlap from which an instance is right.
    """
    right = overlap.square() * (overlap >= least) * (overlap > 0)
    fits = right.any(1)
    target = right / right.sum(1, keepdim=True).clamp(min=1e-9)
    entropy = -(target * logits.log_softmax(1)).sum(1) if logits.shape[1] else logits.sum(1)
    return (entropy * fits).sum() / fits.sum().clamp(min=1)
