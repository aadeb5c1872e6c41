"""The network of Text4Point: dense encoder, tokens in the space of texts, text querying, decoder.

h3D = encoder half(cloud);  h^3D = Linear(h3D)                      in the space of texts
h_text = TextQuery(h^3D, texts);  z3D = decoder half(alpha * h3D + beta * Linear(h_text))
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from lavis.common.errors import ConfigError
from lavis.common.utils import get_abs_path
from lavis.models.point_encoders import (
    DenseEncoder,
    DenseEncoding,
    build_point_encoder,
    load_encoder_checkpoint,
)
from lavis.models.text4point_models.config import NetworkConfig
from lavis.models.text4point_models.text_query import TextQuery


class NetworkOutput(NamedTuple):
    """What the network makes of a batch.

    Attributes:
        encoding: of the encoder half; `encoding.spread` brings values of tokens to the points.
        token_embeds: h^3D [T,E], not normalised.
        point_features: z3D [B,N,D], zero in padding.
    """

    encoding: DenseEncoding
    token_embeds: Tensor
    point_features: Tensor


class Text4PointNetwork(nn.Module):
    """The part that pre-training gives to fine-tuning.

    Args:
        config: see `NetworkConfig`.

    Raises:
        ConfigError: the encoder is not dense.

    Attributes:
        embed_dim: E.
        point_dim: D of z3D.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        encoder = build_point_encoder(config.point_encoder)
        if not isinstance(encoder, DenseEncoder):
            what, where = "the encoder has no features of points", "model.point_encoder.name"
            got = config.point_encoder["name"]
            expected = "a dense encoder: sparse_unet or pointnet2_unet"
            raise ConfigError(what, where=where, got=got, expected=expected)
        if config.point_encoder_weights:
            load_encoder_checkpoint(encoder, get_abs_path(config.point_encoder_weights))
        self.point_encoder, self.embed_dim = encoder, config.embed_dim
        self.point_dim, width = encoder.embed_dim, encoder.token_dim
        self.alpha, self.beta = config.alpha, config.beta
        self.to_text = nn.Linear(width, config.embed_dim)
        self.text_query, self.from_text = None, None
        if config.text_query:
            self.text_query = TextQuery(config.embed_dim, config.query_heads)
            self.from_text = nn.Linear(config.embed_dim, width)

    def forward(
        self, point_cloud: Tensor, text_embeds: Tensor | None, lengths: Tensor | None = None
    ) -> NetworkOutput:
        """Encode clouds against texts.

        Args:
            point_cloud: [B,N,3|6] in the unit of the encoder's cells (metres).
            text_embeds: unit embeddings of labels [K,E], or of each cloud's own [B,K,E]; gradients
                reach them. None: without text querying.
            lengths: Long [B] when clouds are padded.
        """
        encoding = self.point_encoder.encode(point_cloud, lengths=lengths)
        token_embeds = self.to_text(encoding.tokens)  # [T,E]
        tokens = self._with_text(encoding, token_embeds, text_embeds)
        return NetworkOutput(encoding, token_embeds, self.point_encoder.decode(encoding, tokens))

    def _with_text(self, encoding: DenseEncoding, embeds: Tensor, text: Tensor | None) -> Tensor:
        """Return the tokens that the decoder half reads [T,d]."""
        if self.text_query is None or self.from_text is None or text is None:
            return encoding.tokens
        if text.ndim == 3:
            found = self.text_query.per_cloud(embeds, encoding.cells, encoding.cloud, text)
        else:
            found = self.text_query(embeds, encoding.cells, text)
        return self.alpha * encoding.tokens + self.beta * self.from_text(found)
