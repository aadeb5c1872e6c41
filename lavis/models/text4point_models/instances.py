"""Text4Point fine-tuned for instance segmentation: points move to centres and are grouped.

The head is that of PointGroup (arXiv 2004.01658) without its scoring network: an offset per point;
a score is the mean probability of the class. The paper's head is not known. The boxes around the
instances make it a detector, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lavis.common.errors import ConfigError, DataError, nearest
from lavis.common.registry import registry
from lavis.config import option
from lavis.models.abilities import Detector, InstanceSegmenter, SceneSegmenter
from lavis.models.contrastive import full_precision
from lavis.models.text4point_models.clustering import Instances, group_points
from lavis.models.text4point_models.finetune import Scene
from lavis.models.text4point_models.segmentation import (
    SegmentationConfig,
    Text4PointSegmentation,
)


@dataclass(frozen=True)
class InstancesConfig(SegmentationConfig):
    """Keys of `text4point_instances`.

    Attributes:
        surfaces: labels without instances, e.g. wall and floor.
        offset_weight: of the offsets' loss.
        group_cell: width of the cells by which points are connected, metres.
        least_points: of an instance.
        most_overlap: of two instances; above it the worse one goes.
        least_score: of a box's class; lower ones are left out.
    """

    surfaces: Sequence[str] = option([])
    offset_weight: float = option(1.0, low=0.0)
    group_cell: float = option(0.08, low=1e-3)
    least_points: int = option(20, low=1)
    most_overlap: float = option(0.7, low=0.0, high=1.0)
    least_score: float = option(0.01, low=0.0, high=1.0)


@registry.register_model("text4point_instances")
class Text4PointInstances(Text4PointSegmentation):
    """Semantic segmentation and an offset per point to the centre of its object.

    Args:
        config: see `InstancesConfig`.

    Raises:
        ConfigError: `surfaces` names no label.
    """

    abilities: tuple[type, ...] = (SceneSegmenter, InstanceSegmenter, Detector)
    config_class: type[InstancesConfig] = InstancesConfig
    config: InstancesConfig
    PRETRAINED_MODEL_CONFIG_DICT = {  # noqa: RUF012 (the LAVIS convention)
        "rooms": "configs/models/text4point/instances_rooms.yaml",
        "s3dis": "configs/models/text4point/instances_s3dis.yaml",
        "scannet": "configs/models/text4point/instances_scannet.yaml",
    }

    def __init__(self, config: InstancesConfig) -> None:
        super().__init__(config)
        for name in config.surfaces:
            if name not in self.class_names:
                what = f"a surface is no label.{nearest(name, self.class_names)}"
                expected = list(self.class_names)
                where = "model.surfaces"
                raise ConfigError(what, where=where, got=name, expected=expected)
        self.is_thing = torch.tensor([name not in config.surfaces for name in self.class_names])
        width = self.network.point_dim
        self.to_offset = nn.Sequential(
            nn.Linear(width, width), nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, 3)
        )

    def forward(self, samples: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return `loss_segment`, `loss_map`, `loss_offset` and their weighted sum `loss`.

        Args:
            samples: see `read_scene`; `semantic_label`, `instance_label` Long [B,N], -1: none.

        Raises:
            DataError: no instances in the batch, or a label outside the set.
        """
        if "instance_label" not in samples:
            what = "training of instances needs instance_label"
            raise DataError(what, got=sorted(samples), fix="use a *_segmentation data set")
        scene = self.read_scene(samples)
        labels = self.point_labels(samples, scene)
        target = offsets_to_centres(scene.xyz, samples["instance_label"].to(self.device))
        loss = offset_loss(self.to_offset(scene.features), *target)
        losses = self.label_losses(scene, labels)
        return self.total(losses | {"loss_offset": self.config.offset_weight * loss})

    @torch.no_grad()
    def segment(self, batch: Mapping[str, Any]) -> list[dict[str, Tensor]]:
        """Return per scene `masks` bool [K,N], `labels` [K] and `scores` [K], best first."""
        names = ("masks", "labels", "scores")
        return [
            {name: torch.from_numpy(getattr(found, name)) for name in names}
            for found, _ in self._grouped(self.read_scene(batch))
        ]

    @torch.no_grad()
    def detect(self, batch: Mapping[str, Any]) -> list[dict[str, Tensor]]:
        """Return per scene `boxes` [K,6], `labels` [K] and `scores` [K], best first.

        A box is the axis-aligned one around an instance's points. As VoteNet is scored, it counts
        for every class of objects, with the mean probability of the class over the points.
        """
        return [self._boxes(*one) for one in self._grouped(self.read_scene(batch))]

    def _grouped(self, scene: Scene) -> Iterator[tuple[Instances, np.ndarray]]:
        """Yield per scene its instances and the points [N,3]."""
        probability = self.mixed_logits(scene).float().softmax(-1).cpu().numpy()
        moved = (scene.xyz + self.to_offset(scene.features).float()).cpu().numpy()
        xyz, things, config = scene.xyz.cpu().numpy(), self.is_thing.numpy(), self.config
        options = (things, config.group_cell, config.least_points, config.most_overlap)
        for row, count in enumerate(scene.counts()):
            places, goal, own = (part[row, :count] for part in (xyz, moved, probability))
            yield group_points(places, goal, own, *options), places

    def _boxes(self, found: Instances, xyz: np.ndarray) -> dict[str, Tensor]:
        """Return the boxes of a scene's instances for every class that is probable enough."""
        boxes = np.array([box_around(xyz[mask]) for mask in found.masks]).reshape(-1, 6)
        scores = found.probabilities * self.is_thing.numpy()  # [M,K]
        row, label = np.nonzero(scores >= max(self.config.least_score, 1e-9))  # surfaces have 0
        order = np.argsort(-scores[row, label], kind="stable")
        row, label = row[order], label[order]
        arrays = {"boxes": boxes[row], "labels": label, "scores": scores[row, label]}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


def box_around(xyz: np.ndarray) -> np.ndarray:
    """Return centre and size of the axis-aligned box around points [N,3]: [6]."""
    low, high = xyz.min(0), xyz.max(0)
    return np.concatenate([(low + high) / 2, high - low])


def offsets_to_centres(xyz: Tensor, instance: Tensor) -> tuple[Tensor, Tensor]:
    """Return the way from each point to the middle of its instance.

    Args:
        xyz: float [B,N,3].
        instance: Long [B,N], -1: none.

    Returns:
        offsets [B,N,3] to the centre of the instance's axis-aligned box, and bool [B,N], which
        points have an instance.
    """
    has = instance >= 0
    size = int(instance.max().clamp(min=0)) + 1
    cloud = torch.arange(len(xyz), device=xyz.device)[:, None]
    key = (cloud * size + instance.clamp(min=0))[has]  # [M]
    index, points = key[:, None].expand(-1, 3), xyz[has]
    ends = [
        xyz.new_zeros(len(xyz) * size, 3).scatter_reduce(0, index, points, how, include_self=False)
        for how in ("amin", "amax")
    ]
    offsets = torch.zeros_like(xyz)
    offsets[has] = ((ends[0] + ends[1]) / 2)[key] - points
    return offsets, has


def offset_loss(predicted: Tensor, target: Tensor, has: Tensor) -> Tensor:
    """Return the mean distance (L1, metres) and deviation of direction of the points in `has`.

    Args:
        predicted, target: [B,N,3].
        has: bool [B,N]; without any point the loss is 0.
    """
    predicted, target = full_precision(predicted)[has], target[has]
    distance = (predicted - target).abs().sum(-1)
    direction = 1 - F.cosine_similarity(predicted, target, dim=-1, eps=1e-4)
    return (distance + direction).sum() / has.sum().clamp(min=1)
