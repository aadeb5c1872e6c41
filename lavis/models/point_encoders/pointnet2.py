"""PointNet++ with one or several radii per level (SSG, MSG) as an object encoder.

Qi et al., arXiv:1706.02413; sizes, head and parameter names of ULIP's release and of the
classification models of Pointnet_Pointnet2_pytorch that it took them from. Different on purpose:
sampling starts at point 0 (public code draws the first centre).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lavis.models.point_encoders.base import PointEncoder, PointEncoderOutput
from lavis.models.point_encoders.config import EncoderConfig, refuse
from lavis.models.point_encoders.registry import register_point_encoder
from lavis.models.point_encoders.set_abstraction import (
    GlobalAbstraction,
    MultiScaleAbstraction,
    SetAbstraction,
)


@dataclass(frozen=True)
class PointNet2Config(EncoderConfig):
    """Keys of PointNet++; the defaults are the published SSG model.

    Attributes:
        variant: ssg (one radius per level) or msg (three).
        num_groups: centres of the two levels; the second level's are the tokens.
        radius_scale: multiplies the published radii, which suit clouds in the unit sphere.
        dropout: of the two head layers (published: 0.4; MSG's second has 0.5).
    """

    variant: str = "ssg"
    num_groups: tuple[int, ...] = (512, 128)
    radius_scale: float = 1.0
    dropout: float = 0.4

    levels = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_choice("variant", ("ssg", "msg"))
        self.require_size_lists(self.levels, "num_groups")
        self.require_rates("dropout")
        scale = self.radius_scale
        if isinstance(scale, bool) or not isinstance(scale, int | float) or scale <= 0:
            refuse("radius_scale", scale, "a positive number")
        for above, here in zip(self.num_groups, self.num_groups[1:]):
            if here > above:
                refuse("num_groups", list(self.num_groups), "no level larger than the one before")
        if self.drop_path_rate or self.use_grad_checkpoint:
            key = "drop_path_rate" if self.drop_path_rate else "use_grad_checkpoint"
            refuse(key, getattr(self, key), "none: PointNet++ has no residual blocks")

    def radii(self, *published: float) -> list[float]:
        """Scale published radii."""
        return [radius * self.radius_scale for radius in published]


def object_levels(config: PointNet2Config) -> tuple[nn.Module, nn.Module, GlobalAbstraction, int]:
    """Return the published object levels and the token width."""
    first, second = config.num_groups
    extra = config.point_dims - 3  # the single colour (or normal) of a point
    if config.variant == "ssg":
        near, far = config.radii(0.2, 0.4)
        sa1: nn.Module = SetAbstraction(first, near, 32, extra, (64, 64, 128))
        sa2: nn.Module = SetAbstraction(second, far, 64, 128, (128, 128, 256))
        width = 256
    else:
        scales = ((32, 32, 64), (64, 64, 128), (64, 96, 128))
        radii = config.radii(0.1, 0.2, 0.4)
        sa1 = MultiScaleAbstraction(first, radii, (16, 32, 128), extra, scales)
        scales = ((64, 64, 128), (128, 128, 256), (128, 128, 256))
        radii = config.radii(0.2, 0.4, 0.8)
        sa2 = MultiScaleAbstraction(second, radii, (32, 64, 128), 320, scales)
        width = 640
    return sa1, sa2, GlobalAbstraction(width, (256, 512, 1024)), width


@register_point_encoder("pointnet2")
class PointNet2(PointEncoder):
    """PointNet++ encoder; tokens are the second level's centres, the global feature is the
    256-wide head output that ULIP aligns with text and images."""

    config: PointNet2Config
    config_class = PointNet2Config
    reads_lengths = True
    published_extras = ("fc3.*",)  # the classifier

    def __init__(self, config: PointNet2Config | None = None) -> None:
        config = config or PointNet2Config()
        super().__init__(config, min_points=config.num_groups[0])
        self.sa1, self.sa2, self.sa3, self.embed_dim = object_levels(config)
        self.num_tokens = config.num_groups[-1]
        self.global_dim = 256
        self.fc1, self.bn1 = nn.Linear(1024, 512), nn.BatchNorm1d(512)
        self.fc2, self.bn2 = nn.Linear(512, 256), nn.BatchNorm1d(256)

    def forward(self, point_cloud: Tensor, *, lengths: Tensor | None = None) -> PointEncoderOutput:
        """Encode clouds (`PointEncoder.forward`); in training the head's BatchNorm needs B >= 2.

        Returns:
            tokens [B,G,D], centers [B,G,3], global_feature [B,256], no class token.
        """
        points = self.prepare(point_cloud, lengths)
        counts = self.prepared_lengths(lengths)
        xyz = points[..., :3].contiguous()
        color = points[..., 3:] if self.in_channels == 6 else None
        center, features = self.sa1(xyz, color, self.first_center(xyz, counts), counts)
        center, tokens = self.sa2(center, features)
        pooled = self.sa3(center, tokens)  # [B,1024]
        return PointEncoderOutput(tokens, self.cloud_axes(center), self._head(pooled))

    def _head(self, pooled: Tensor) -> Tensor:
        """Map the pooled cloud [B,1024] to the global feature [B,256]."""
        rate = self.config.dropout
        hidden = F.dropout(self._normalise(self.fc1(pooled), self.bn1), rate, self.training)
        return F.dropout(self._normalise(self.fc2(hidden), self.bn2), rate, self.training)

    def _normalise(self, values: Tensor, norm: nn.BatchNorm1d) -> Tensor:
        """BatchNorm and ReLU; a batch of one has no statistics and uses the running ones."""
        if norm.training and len(values) == 1:
            self.tell_once("A batch of one: the head's BatchNorm uses its running statistics.")
            values = F.batch_norm(
                values, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
            )
            return torch.relu(values)
        return torch.relu(norm(values))
