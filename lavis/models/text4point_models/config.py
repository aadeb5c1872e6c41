"""Yaml keys of the network that pre-training and fine-tuning of Text4Point share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lavis.common.errors import ConfigError
from lavis.config import option
from lavis.models.point_encoders.model_config import PointModelConfig


@dataclass(frozen=True)
class NetworkConfig(PointModelConfig):
    """Keys of the network.

    Attributes:
        point_encoder: a dense encoder: `sparse_unet` or `pointnet2_unet`, and its keys.
        embed_dim: E of the texts.
        text_query: let the tokens query the texts before the decoder half.
        query_heads: attention heads of that; they divide embed_dim.
        alpha: share of the encoder's tokens in what the decoder half reads.
        beta: share of the queried texts.
    """

    point_encoder: Mapping[str, Any] = option({"name": "sparse_unet", "point_dims": 6})
    embed_dim: int = option(384, low=1)
    text_query: bool = True
    query_heads: int = option(6, low=1)
    alpha: float = option(1.0, low=0.0)
    beta: float = option(1.0, low=0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.embed_dim % self.query_heads:
            what, expected = "the heads do not divide the width", f"a divisor of {self.embed_dim}"
            where, got = "model.query_heads", self.query_heads
            raise ConfigError(what, where=where, got=got, expected=expected)
