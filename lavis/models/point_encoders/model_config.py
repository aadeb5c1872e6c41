"""Keys of every model that holds a point encoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lavis.config import ModelConfig, option
from lavis.config.component import plain
from lavis.models.point_encoders.registry import point_encoder_defaults


@dataclass(frozen=True)
class PointModelConfig(ModelConfig):
    """Keys of a model with a point encoder.

    Attributes:
        point_encoder: `name` of a registered encoder, and its keys (docs/point_encoders.md).
        point_encoder_weights: a published or own encoder checkpoint; null starts fresh.
    """

    point_encoder: Mapping[str, Any] = option({"name": "point_bert"})
    point_encoder_weights: str | None = None

    @classmethod
    def complete(cls, section: Mapping[str, Any]) -> dict[str, Any]:
        """Return the defaults, those of the named encoder included, with a yaml's differences."""
        completed = super().complete(section)
        encoder = completed["point_encoder"]
        completed["point_encoder"] = plain(point_encoder_defaults(encoder["name"])) | encoder
        return completed


@dataclass(frozen=True)
class ObjectHeadConfig(PointModelConfig):
    """Keys of a model with an `ObjectHead` behind its point encoder.

    Attributes:
        use_size: read the object's box beside its global feature, for data with a common unit.
        head_width: width of a hidden layer between the feature and the projections; null: none.
        head_dropout: of that layer.
    """

    use_size: bool = False
    head_width: int | None = option(None, low=1)
    head_dropout: float = option(0.0, low=0, high=1)
