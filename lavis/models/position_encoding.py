"""Sinusoidal encodings of positions: continuous xyz of points, integer cells of grids.

Grids (patches, voxels, pixels) use the package positional-encodings. It encodes integer positions
only, so `encode_xyz`, which 3D-LLM adds to its point features, is our own.

Reference: 3D-LLM (arXiv 2307.12981), section 3.3; Attention Is All You Need (arXiv 1706.03762).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lavis.common.errors import ShapeError


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


def encode_grid(sizes: Sequence[int], width: int) -> Tensor:
    """Encode the cells of a grid of 1, 2 or 3 dimensions by positional-encodings.

    Args:
        sizes: cells along each axis, e.g. (H, W) of patches or (X, Y, Z) of voxels.
        width: D of the tokens; axes have equal shares, sines and cosines alternate.

    Returns:
        float32 [*sizes,width].

    Raises:
        ShapeError: another number of axes, or a size or width below 1.
    """
    from positional_encodings import torch_encodings

    if len(sizes) not in (1, 2, 3) or min(*sizes, width) < 1:
        raise ShapeError(
            "Invalid grid.", got=(*sizes, width), expected="1 to 3 sizes and a width >= 1"
        )
    encoding = getattr(torch_encodings, f"PositionalEncoding{len(sizes)}D")(width)
    return encoding(torch.zeros(1, *sizes, width))[0]


def encode_cells(cells: Tensor, width: int) -> Tensor:
    """Encode occupied cells as `encode_grid` does, without the grid around them.

    Args:
        cells: Long [T,3], each coordinate from 0.
        width: D of the tokens.

    Returns:
        float32 [T,width].
    """
    share = 2 * -(-width // 6)  # of an axis, even
    line = encode_grid((int(cells.max()) + 1,), share).to(cells.device)
    return line[cells].flatten(1)[:, :width]  # [T,3,share] -> [T,width]
