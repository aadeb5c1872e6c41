"""Yaml keys of ULIP-style pre-training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lavis.config import option
from lavis.models.point_encoders.model_config import ObjectHeadConfig


@dataclass(frozen=True)
class UlipTextConfig(ObjectHeadConfig):
    """Keys of `ulip_text`.

    Attributes:
        text_tower: text teacher: `minilm`, a folder, or a hub name.
        text_sources: weight of the contrast with each text field of the samples.
        embed_source: whose head embeds clouds for evaluations; null: the first, which classifies.
        whole_vocabulary: sources of few distinct texts, such as class names: cross-entropy over all
            texts of the training split instead of InfoNCE over those of the batch.
        label_smoothing: of that cross-entropy.
        lexical_source: text source whose words (hashed tf-idf, `LexicalTeacher`) clouds are aligned
            with, too, by cross-entropy over the texts of the training split; null: none.
        lexical_weight: of that cross-entropy.
        lexical_share: of words in the cosine of the joint embedding, beside the sentence encoder;
            mean of R@1, 5 and 10 on val of bricks by share: 0 34.0, 0.5 40.5, 0.7 42.9, 1 41.8.
    """

    text_tower: str = "minilm"
    text_sources: Mapping[str, float] = option({"caption": 1.0}, low=0)
    embed_source: str | None = None
    whole_vocabulary: tuple[str, ...] = ()
    label_smoothing: float = option(0.0, low=0, high=1)
    lexical_source: str | None = None
    lexical_weight: float = option(1.0, low=0)
    lexical_share: float = option(0.7, low=0, high=1)
