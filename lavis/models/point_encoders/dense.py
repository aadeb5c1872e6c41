"""Dense encoders: an encoder half that makes tokens, a decoder half that makes features of points.

What lies between the halves may change the tokens (Text4Point's text querying does):

    encoding = encoder.encode(point_cloud, lengths=lengths)
    features = encoder.decode(encoding, encoding.tokens)       # [B,N,D]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lavis.models.point_encoders.base import PointEncoder, PointEncoderOutput
from lavis.models.point_encoders.cloud_input import blank_padding


@dataclass(frozen=True)
class DenseEncoding:
    """What the encoder half makes of a batch of clouds.

    Attributes:
        tokens: [T,d], of all clouds, one cloud behind the other.
        cloud: Long [T], the cloud of each token.
        centers: float32 [T,3], in the axes of the cloud.
        cells: Long [T,3] from 0, places of the tokens in their cloud's grid.
        index, weight: Long and float [B,N,S], the tokens of each point and their shares, which
            are zero in padding.
        global_feature: [B,F].
        state: what the decoder half needs besides.
    """

    tokens: Tensor
    cloud: Tensor
    centers: Tensor
    cells: Tensor
    index: Tensor
    weight: Tensor
    global_feature: Tensor
    state: Any

    def spread(self, values: Tensor) -> Tensor:
        """Return the values [T,F] of tokens at every point: [B,N,F], zero in padding."""
        known = values[self.index]  # [B,N,S,F]
        return (known * self.weight[..., None].to(known.dtype)).sum(2)


class DenseEncoder(PointEncoder):
    """Base of encoders with a feature for every point.

    Attributes:
        token_dim: d, width of the tokens between the halves.
    """

    reads_lengths = True
    token_dim: int

    def encode(self, point_cloud: Tensor, *, lengths: Tensor | None = None) -> DenseEncoding:
        """Make tokens of clouds [B,N,3|6]; see `PointEncoder.forward`."""
        raise TypeError(f"{type(self).__name__} does not define encode")

    def decode(self, encoding: DenseEncoding, tokens: Tensor) -> Tensor:
        """Make features of points [B,N,D], zero in padding, of tokens [T,d]."""
        raise TypeError(f"{type(self).__name__} does not define decode")

    def forward(self, point_cloud: Tensor, *, lengths: Tensor | None = None) -> PointEncoderOutput:
        """Encode every point (`PointEncoder.forward`).

        Returns:
            tokens [B,N,D] (zero where padded), centers [B,N,3] (the points), global_feature
            [B,F], no class token.
        """
        encoding = self.encode(point_cloud, lengths=lengths)
        features = self.decode(encoding, encoding.tokens)
        centers = point_cloud if lengths is None else blank_padding(point_cloud, lengths)
        return PointEncoderOutput(features, centers[..., :3].float(), encoding.global_feature)
