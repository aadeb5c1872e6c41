"""Sinusoidal encoding of where a token is: 3D-LLM adds one to its point features.

Reference: 3D-LLM (arXiv 2307.12981), section 3.3; Attention Is All You Need (arXiv 1706.03762).
"""

from __future__ import annotations

import torch
from torch import Tensor


def encode_xyz(centers: Tensor, width: int, resolution: float = 100.0) -> Tensor:
    """Encode coordinates by sines and cosines of frequencies from 1 down to 1/10000.

    Args:
        centers: [B,G,3], each coordinate in [-1,1].
        width: D of the tokens; a third goes to each axis, what is left over is zero.
        resolution: steps per unit: neighbouring integers are the positions of the 1-D encoding.

    Returns:
        float32 [B,G,width]; per axis first the sines, then the cosines.
    """
    num_frequencies = width // 6
    exponent = torch.arange(num_frequencies, device=centers.device) / max(num_frequencies, 1)
    angles = resolution * centers.float()[..., None] * 10000.0**-exponent  # [B,G,3,F]
    encoding = torch.cat([angles.sin(), angles.cos()], -1).flatten(-2)  # [B,G,6F]
    return torch.nn.functional.pad(encoding, (0, width - encoding.shape[-1]))
