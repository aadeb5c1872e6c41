"""How large an object is, for the Q-Former as a token and for the language model in words.

Encoders read clouds in the unit sphere, where a 2 x 4 and a 4 x 8 plate, or gears of 8 and 40
teeth, look alike: what the description names is gone. The box of the cloud as it was stored
(`box_size` of a sample) gives it back. Data without a common unit (Objaverse) leave it out.

A box with NaN is an unknown size: the token is zero and the text is "unknown". Training withholds
some sizes (`size_drop` of the data set), so that a model can read both; the controls no_size and
blank_cloud (evaluation/controls.py) withhold all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lavis.common.errors import ConfigError

# Wavelengths in octaves. The longest keeps sizes from 1/256 to 256 units apart, the shortest tells
# 15 from 16.
_WAVELENGTHS = (16.0, 8.0, 4.0, 2.0, 1.0, 0.5)
# An edge below this share of the longest counts as so long: flat objects, not logarithms of zero.
_THINNEST = 1e-3
_NO_SIZE = 1e-6  # of a single point
UNKNOWN_SIZE = "unknown"


def box_sizes(samples: Mapping[str, Any], key: str) -> Tensor:
    """Return the boxes [B,3] of a batch.

    Args:
        samples: a batch.
        key: the yaml key that asks for sizes, for the message.

    Raises:
        ConfigError: the samples have no sizes.
    """
    if "box_size" not in samples:
        raise ConfigError(
            "the model reads sizes, and the samples have none",
            where=key,
            got=sorted(samples),
            expected="samples with box_size [B,3]",
            fix=f"give box_size, or change {key}",
        )
    return samples["box_size"]


def size_text(box_size: Sequence[float]) -> str:
    """Write a box (x, y up, z) as "1.0 x 3.0 x 1.4": footprint, short edge first, then height.

    A quarter turn about the up axis changes nothing. A box with NaN is "unknown".
    """
    if any(math.isnan(edge) for edge in box_size):
        return UNKNOWN_SIZE
    x, height, z = box_size
    return " x ".join(f"{edge:.1f}" for edge in (min(x, z), max(x, z), height))


def log2_edges(box_size: Tensor) -> Tensor:
    """Return edges in octaves, float32 [B,3]: equal ratios are equal steps; NaN stays NaN."""
    edges = box_size.float()
    thinnest = (edges.amax(-1, keepdim=True) * _THINNEST).clamp_min(_NO_SIZE)
    return torch.maximum(edges, thinnest).log2()


def encode_size(box_size: Tensor) -> Tensor:
    """Encode edges by sines and cosines of their logarithm, so that equal ratios are equal steps.

    Args:
        box_size: [B,3], edges of a box, at least 0.

    Returns:
        float32 [B,36].
    """
    octaves = log2_edges(box_size)  # [B,3]
    wavelengths = octaves.new_tensor(_WAVELENGTHS)
    angles = 2 * math.pi * octaves[..., None] / wavelengths  # [B,3,W]
    return torch.cat([angles.sin(), angles.cos()], -1).flatten(-2)


class SizeToken(nn.Module):
    """Turn the edges of an object's box into one token.

    Args:
        width: D of the other tokens.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        features = 3 * 2 * len(_WAVELENGTHS)
        # The norm ends encoders, too: their tokens have the scale that queries are used to.
        self.layers = nn.Sequential(
            nn.Linear(features, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
            nn.LayerNorm(width),
        )

    def forward(self, box_size: Tensor) -> Tensor:
        """Embed boxes.

        Args:
            box_size: [B,3], edges along x, y, z in the data's own unit; NaN where unknown.

        Returns:
            [B,D], zero for rows of unknown size.
        """
        unknown = box_size.isnan().any(-1, keepdim=True)  # [B,1]
        # Replaced before the layers: NaN times zero is NaN, forward and backward.
        tokens = self.layers(encode_size(box_size.masked_fill(unknown, 1.0)))
        return tokens.masked_fill(unknown, 0.0)
