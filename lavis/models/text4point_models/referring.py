"""Text4Point fine-tuned for referring: a sentence -> a mask over the points of a room.

Not in the paper. The network reads the room against the labels, as in segmentation; the sentence's
words come from the frozen text teacher (referring_head.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lavis.common.registry import registry
from lavis.config import option
from lavis.models.abilities import ReferringSegmenter
from lavis.models.contrastive import full_precision
from lavis.models.point_encoders.cloud_input import valid_rows
from lavis.models.text4point_models.finetune import (
    FinetuneConfig,
    Scene,
    Text4PointFinetune,
)
from lavis.models.text4point_models.referring_head import ReferringHead
from lavis.models.text4point_models.sentences import (
    distinct_scenes,
    meant_points,
    sentence_words,
)


@dataclass(frozen=True)
class ReferringConfig(FinetuneConfig):
    """Keys of `text4point_referring`.

    Attributes:
        width: of the head.
        depth: layers in which points, sentence and words attend to each other.
        head_heads: heads of attention of these layers.
        tokens: points that attend.
        dropout: in these layers.
    """

    width: int = option(128, low=1)
    depth: int = option(3, low=1)
    head_heads: int = option(4, low=1)
    tokens: int = option(256, low=1)
    dropout: float = option(0.1, low=0.0, high=1.0)


@registry.register_model("text4point_referring")
class Text4PointReferring(Text4PointFinetune):
    """The network and a head that reads a sentence.

    Args:
        config: see `ReferringConfig`.
    """

    abilities: tuple[type, ...] = (ReferringSegmenter,)
    config_class: type[ReferringConfig] = ReferringConfig
    PRETRAINED_MODEL_CONFIG_DICT = {  # noqa: RUF012 (the LAVIS convention)
        "rooms": "configs/models/text4point/referring_rooms.yaml",
    }

    def __init__(self, config: ReferringConfig) -> None:
        super().__init__(config)
        self.refer_head = ReferringHead(
            self.network.point_dim,
            sentence_words(self.text_teacher, ["a chair"])[0].shape[-1],
            config.width,
            config.depth,
            config.head_heads,
            config.tokens,
            config.dropout,
        )

    def forward(self, samples: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return `loss_mask`, `loss_dice`, `loss_map` and their weighted sum `loss`.

        Args:
            samples: see `read_scene`; `text_input`, B sentences; `instance_label` Long [B,N] and
                `target_instance` Long [B]; `semantic_label` for the score map.

        Raises:
            DataError: no targets in the batch, an empty sentence, or a label outside the set.
        """
        target = meant_points(samples, self.device)
        scenes, scene_of = distinct_scenes(samples)
        scene = self.read_scene(scenes)
        logits = self._logits(scene, samples["text_input"], scene_of)
        lengths = None if scene.lengths is None else scene.lengths[scene_of]
        losses = mask_losses(logits, target, lengths)
        map_loss = self.label_loss(scene.score_map, self.point_labels(scenes, scene))
        return self.total(losses | {"loss_map": map_loss})

    @torch.no_grad()
    def refer(self, batch: Mapping[str, Any]) -> Tensor:
        """Return logits [B,N] of the points that `text_input` means; a mask is where they are > 0.

        Raises:
            DataError: an empty sentence.
        """
        scenes, scene_of = distinct_scenes(batch)
        return self._logits(self.read_scene(scenes), batch["text_input"], scene_of)

    def _logits(self, scene: Scene, sentences: Sequence[str], scene_of: Tensor) -> Tensor:
        words = sentence_words(self.text_teacher, sentences)
        rows = scene_of.to(self.device)
        return self.refer_head(scene.xyz, scene.features, *words, scene.lengths, rows)


def mask_losses(logits: Tensor, target: Tensor, lengths: Tensor | None) -> dict[str, Tensor]:
    """Return `loss_mask` (binary cross-entropy) and `loss_dice`, means over scenes with a target.

    In a scene without points of the target (a crop may cut it off) no point is meant: only the
    cross-entropy counts.

    Args:
        logits: [B,N].
        target: bool [B,N].
        lengths: Long [B], or None without padding.
    """
    logits, wanted = full_precision(logits), target.float()
    real = torch.ones_like(target) if lengths is None else valid_rows(lengths, target.shape[1])
    entropy = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    mask = ((entropy * real).sum(1) / real.sum(1)).mean()
    share = logits.sigmoid() * real
    dice = 1 - 2 * (share * wanted).sum(1) / (share.sum(1) + wanted.sum(1)).clamp(min=1e-6)
    there = target.any(1)
    return {"loss_mask": mask, "loss_dice": (dice * there).sum() / there.sum().clamp(min=1)}
