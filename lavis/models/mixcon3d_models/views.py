"""One image vector from several views (MixCon3D's `img_loss_mode`)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

VIEWS = ("single", "avg", "max", "avg_proj", "max_proj")


class ViewPool(nn.Module):
    """Pools projected views; `*_proj` puts a linear layer behind the pooling.

    Args:
        mode: one of `VIEWS`; `single` takes the first view that exists.
        width: E.
    """

    def __init__(self, mode: str, width: int) -> None:
        super().__init__()
        self.mode = mode.removesuffix("_proj")
        self.proj = nn.Linear(width, width) if mode.endswith("_proj") else nn.Identity()

    def forward(self, views: Tensor, valid: Tensor) -> Tensor:
        """Pool the `valid` [B,V] of views [B,V,E] to [B,E]; without any the layer gets zeros."""
        kept = valid[..., None]
        if self.mode == "avg":
            count = valid.sum(1, keepdim=True).clamp(min=1)
            pooled = views.masked_fill(~kept, 0).sum(1) / count
        elif self.mode == "max":
            lowest = torch.finfo(views.dtype).min
            pooled = views.masked_fill(~kept, lowest).amax(1)
            pooled = pooled.masked_fill(~valid.any(1, keepdim=True), 0)
        else:
            first = valid.float().argmax(1)  # of equal ones the first
            pooled = views.masked_fill(~kept, 0)[torch.arange(len(views)), first]
        return self.proj(pooled)
