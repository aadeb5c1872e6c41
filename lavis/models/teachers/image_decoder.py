"""A 2D decoder: a feature for every pixel from the stages of a frozen network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lavis.models.position_encoding import encode_grid


class ImageDecoder(nn.Module):
    """A feature pyramid: stages are projected, enlarged and added from coarse to fine.

    The sinusoidal encoding of a cell is added to the coarsest map.

    Args:
        stage_dims: widths of the stages, finest first.
        coarse_dim: width of the map of embeddings above them.
        width: of the features.
    """

    def __init__(self, stage_dims: Sequence[int], coarse_dim: int, width: int) -> None:
        super().__init__()
        self.top = nn.Conv2d(coarse_dim, width, 1)
        self.lateral = nn.ModuleList(nn.Conv2d(dim, width, 1) for dim in reversed(stage_dims))
        self.mix = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in stage_dims)
        self.out = nn.Conv2d(width, width, 1)

    def forward(self, coarse: Tensor, stages: Sequence[Tensor]) -> Tensor:
        """Return features [B,width,h,w] in the size of the finest stage.

        Args:
            coarse: embeddings [B,E,h',w'] of the teacher.
            stages: [B,C_i,h_i,w_i], finest first.
        """
        x = self.top(coarse)
        place = encode_grid(x.shape[2:], x.shape[1]).to(x)  # [h',w',width]
        x = x + place.permute(2, 0, 1)
        for stage, lateral, mix in zip(reversed(stages), self.lateral, self.mix):
            grown = F.interpolate(x, stage.shape[2:], mode="bilinear")
            x = F.gelu(mix(grown + lateral(stage)))
        return self.out(x)


def at_pixels(maps: Tensor, image: Tensor, pixel: Tensor, size: tuple[int, int]) -> Tensor:
    """Return maps at the centres of pixels, between cells by bilinear interpolation: [P,C].

    Args:
        maps: [B,C,h,w], which cover the whole images.
        image: Long [P] in [0,B), the image of each pixel.
        pixel: Long [P,2], column and row.
        size: (H, W) of the images.
    """
    height, width = size
    place = (pixel + 0.5) * 2 / pixel.new_tensor([width, height]) - 1  # in [-1,1]
    values = []
    for row in range(len(maps)):
        own = place[image == row].to(maps.dtype)[None, None]  # [1,1,P',2]
        found = F.grid_sample(maps[row : row + 1], own, padding_mode="border", align_corners=False)
        values.append(found[0, :, 0].T)  # [P',C]
    order = image.argsort(stable=True)
    back = torch.empty_like(order).scatter_(0, order, torch.arange(len(order)).to(order))
    return torch.cat(values)[back]
