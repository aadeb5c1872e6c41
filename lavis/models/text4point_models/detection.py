"""Text4Point fine-tuned for 3D object detection: VoteNet's head on the decoder's features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lavis.common.errors import DataError
from lavis.common.registry import registry
from lavis.config import option
from lavis.models.abilities import Detector
from lavis.models.point_ops import gather_points
from lavis.models.text4point_models.box_losses import detection_losses
from lavis.models.text4point_models.boxes import suppress
from lavis.models.text4point_models.finetune import (
    CosineScale,
    FinetuneConfig,
    Scene,
    Text4PointFinetune,
)
from lavis.models.text4point_models.votes import Proposals, VoteHead


@dataclass(frozen=True)
class DetectionConfig(FinetuneConfig):
    """Keys of `text4point_detection`; lengths in metres.

    Attributes:
        width: of the head's layers.
        voting_points: points that vote (VoteNet's seeds).
        proposals: boxes before suppression.
        radius: in which votes are pooled.
        neighbors: votes that are pooled.
        turned: regress turns about the up axis (SUN RGB-D); else boxes are axis-aligned.
        close: a proposal nearer than this to a centre is an object.
        far: one farther than this from every centre is none.
        most_overlap: of two boxes of a class; above it the worse one goes.
        least_score: lower ones are left out.
    """

    width: int = option(128, low=1)
    voting_points: int = option(1024, low=1)
    proposals: int = option(128, low=1)
    radius: float = option(0.3, low=1e-3)
    neighbors: int = option(16, low=1)
    turned: bool = False
    close: float = option(0.3, low=0.0)
    far: float = option(0.6, low=0.0)
    most_overlap: float = option(0.25, low=0.0, high=1.0)
    least_score: float = option(0.01, low=0.0, high=1.0)


@registry.register_model("text4point_detection")
class Text4PointDetection(Text4PointFinetune):
    """Seeds vote for centres; pooled votes give boxes, and classes by cosines with texts.

    Args:
        config: see `DetectionConfig`.
    """

    abilities: tuple[type, ...] = (Detector,)
    config_class: type[DetectionConfig] = DetectionConfig
    config: DetectionConfig
    PRETRAINED_MODEL_CONFIG_DICT = {  # noqa: RUF012 (the LAVIS convention)
        "rooms": "configs/models/text4point/detection_rooms.yaml",
        "scannet": "configs/models/text4point/detection_scannet.yaml",
        "sunrgbd": "configs/models/text4point/detection_sunrgbd.yaml",
    }

    def __init__(self, config: DetectionConfig) -> None:
        super().__init__(config)
        self.vote_head = VoteHead(
            self.network.point_dim,
            config.embed_dim,
            config.width,
            config.voting_points,
            config.proposals,
            config.radius,
            config.neighbors,
            config.turned,
        )
        self.label_scale = CosineScale(config.init_scale)

    def forward(self, samples: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return `loss_vote`, `loss_objectness`, `loss_box`, `loss_class`, `loss_map`, `loss`.

        Args:
            samples: see `read_scene`; `boxes`, B tensors [M,6|7], and `box_label`, B Long [M];
                `semantic_label` Long [B,N] for the score map, where the data have it.

        Raises:
            DataError: no boxes in the batch, or a label outside the set.
        """
        scene = self.read_scene(samples)
        boxes, labels = self._annotated(samples)
        proposals, logits = self._propose(scene)
        seed_xyz = gather_points(scene.xyz, proposals.seeds)
        limits = (self.config.close, self.config.far)
        losses = detection_losses(proposals, seed_xyz, logits, boxes, labels, *limits)
        map_loss = self.label_loss(scene.score_map, self.point_labels(samples, scene))
        return self.total(losses | {"loss_map": map_loss})

    def _annotated(self, samples: Mapping[str, Any]) -> tuple[list[Tensor], list[Tensor]]:
        """Return the boxes [M,6|7] and labels [M] of every scene."""
        if "boxes" not in samples or "box_label" not in samples:
            what = "training of detection needs boxes and box_label"
            raise DataError(what, got=sorted(samples), fix="use a *_detection data set")
        labels = [label.to(self.device) for label in samples["box_label"]]
        known = len(self.class_names)
        for row, label in enumerate(labels):
            if len(label) and not 0 <= int(label.min()) <= int(label.max()) < known:
                what = "a box has a label outside model.labels"
                where = str(samples.get("instance_id", {row: row})[row])
                expected = f"0 to {known - 1}"
                raise DataError(what, where=where, got=label.tolist(), expected=expected)
        return [box.to(self.device).float() for box in samples["boxes"]], labels

    def _propose(self, scene: Scene) -> tuple[Proposals, Tensor]:
        """Return proposals, and the logits [B,P,K] of their classes."""
        proposals = self.vote_head(scene.xyz, scene.features, scene.lengths)
        return proposals, self.label_scale(proposals.features, scene.text)

    @torch.no_grad()
    def detect(self, batch: Mapping[str, Any]) -> list[dict[str, Tensor]]:
        """Return per scene `boxes` [K,6|7], `labels` [K] and `scores` [K], best first.

        A score is the probability of an object times that of the class. As VoteNet is scored,
        suppression chooses among the proposals, and each one left counts for every class.
        """
        proposals, logits = self._propose(self.read_scene(batch))
        objectness, classes = proposals.objectness.sigmoid(), logits.float().softmax(-1)
        return [
            self._best(boxes.float(), share, kinds)
            for boxes, share, kinds in zip(proposals.boxes, objectness, classes)
        ]

    def _best(self, boxes: Tensor, objectness: Tensor, classes: Tensor) -> dict[str, Tensor]:
        """Choose among the proposals of a scene: boxes [P,6|7], [P] and [P,K]."""
        kept = suppress(boxes, classes.argmax(-1), objectness, self.config.most_overlap)
        scores = objectness[kept, None] * classes[kept]  # [M,K]
        row, label = (scores >= self.config.least_score).nonzero(as_tuple=True)
        order = scores[row, label].argsort(descending=True, stable=True)
        row, label = row[order], label[order]
        return {"boxes": boxes[kept][row], "labels": label, "scores": scores[row, label]}
