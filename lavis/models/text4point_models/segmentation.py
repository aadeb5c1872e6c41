"""Text4Point fine-tuned for semantic segmentation, with the labels of training or any words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lavis.common.registry import registry
from lavis.config import option
from lavis.models.abilities import SceneSegmenter
from lavis.models.text4point_models.finetune import (
    CosineScale,
    FinetuneConfig,
    Scene,
    Text4PointFinetune,
)


@dataclass(frozen=True)
class SegmentationConfig(FinetuneConfig):
    """Keys of `text4point_segmentation`.

    Attributes:
        map_share: share of the score map in the logits of an evaluation; the rest is the head's.
        novel_bonus: added to the logits of names that are not in `labels`, which training never
            raised (calibrated stacking, Chao et al., arXiv 1605.04253).
    """

    map_share: float = option(0.0, low=0.0, high=1.0)
    novel_bonus: float = option(0.0, low=0.0)


@registry.register_model("text4point_segmentation")
class Text4PointSegmentation(Text4PointFinetune):
    """A linear layer from the decoder's features into the space of texts; cosines are logits.

    Args:
        config: see `SegmentationConfig`.
    """

    abilities: tuple[type, ...] = (SceneSegmenter,)
    config_class: type[SegmentationConfig] = SegmentationConfig
    PRETRAINED_MODEL_CONFIG_DICT = {  # noqa: RUF012 (the LAVIS convention)
        "rooms": "configs/models/text4point/segmentation_rooms.yaml",
        "s3dis": "configs/models/text4point/segmentation_s3dis.yaml",
        "scannet": "configs/models/text4point/segmentation_scannet.yaml",
        "sunrgbd": "configs/models/text4point/segmentation_sunrgbd.yaml",
    }

    def __init__(self, config: SegmentationConfig) -> None:
        super().__init__(config)
        self.map_share, self.novel_bonus = config.map_share, config.novel_bonus
        self.to_label = nn.Linear(self.network.point_dim, config.embed_dim)
        self.label_scale = CosineScale(config.init_scale)

    def forward(self, samples: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return `loss_segment`, `loss_map` and their weighted sum `loss`.

        Args:
            samples: see `read_scene`; `semantic_label` Long [B,N], -1: none.

        Raises:
            DataError: a label outside the set.
        """
        scene = self.read_scene(samples)
        return self.total(self.label_losses(scene, self.point_labels(samples, scene)))

    def label_losses(self, scene: Scene, labels: Tensor) -> dict[str, Tensor]:
        """Return the losses of the head and of the score map."""
        return {
            "loss_segment": self.label_loss(self.label_logits(scene), labels),
            "loss_map": self.label_loss(scene.score_map, labels),
        }

    def label_logits(self, scene: Scene) -> Tensor:
        """Return the head's logits [B,N,K]."""
        return self.label_scale.of_linear(self.to_label, scene.features, scene.text)

    def mixed_logits(self, scene: Scene) -> Tensor:
        """Return the logits of an evaluation: of the head and of the score map, by `map_share`."""
        logits = self.label_logits(scene)
        return torch.lerp(logits, scene.score_map.to(logits.dtype), self.map_share)

    @torch.no_grad()
    def segment_points(
        self, batch: Mapping[str, Any], labels: Sequence[str] | None = None
    ) -> Tensor:
        """Return logits [B,N,K] over `labels`, any words; None: the labels of training."""
        logits = self.mixed_logits(self.read_scene(batch, labels))
        novel = [name.strip() not in self.class_names for name in labels or ()]
        return logits + self.novel_bonus * logits.new_tensor(novel) if any(novel) else logits
