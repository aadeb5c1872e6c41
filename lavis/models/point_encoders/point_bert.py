"""Point-BERT: groups of points as tokens of a transformer.

Yu et al., arXiv:2111.14819, in the layout of ULIP / ULIP-2 (arXiv:2305.08275) that PointBLIP,
GPT4Point and PointLLM use; parameter names equal those of the published checkpoints.
Different from the public code, with the same result: exact and fast grouping, a split
mini-PointNet and fused attention. Different on purpose: the first centre is point 0 (public code
draws it at random even in eval, so its features change from call to call).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from lavis.models.point_encoders.base import (
    GroupIndices,
    PointEncoder,
    PointEncoderOutput,
    PointGroups,
    check_point_cloud,
)
from lavis.models.point_encoders.config import COLOR_VALUES, PointBertConfig
from lavis.models.point_encoders.mini_pointnet import MiniPointNet
from lavis.models.point_encoders.registry import register_point_encoder
from lavis.models.point_encoders.transformer import TransformerEncoder
from lavis.models.point_ops import farthest_point_sample, gather_points, group_points, knn

_logger = logging.getLogger(__name__)


@register_point_encoder("point_bert", "ulip_point_bert")
class PointBert(PointEncoder):
    """Point-BERT encoder; every size comes from `PointBertConfig`.

    The global feature is the class token and the maximum over the tokens, side by side (F = 2D),
    as in ULIP.
    """

    def __init__(self, config: PointBertConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or PointBertConfig()
        self.embed_dim = width = config.trans_dim
        self.num_tokens = config.num_group
        self.in_channels = config.point_dims
        self.global_dim = 2 * width
        self._told_color_unused = False

        self.encoder = MiniPointNet(config.point_dims, config.stem_dims, config.encoder_dims)
        self.reduce_dim = nn.Linear(config.encoder_dims, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.cls_pos = nn.Parameter(torch.randn(1, 1, width))
        self.pos_embed = nn.Sequential(nn.Linear(3, 128), nn.GELU(), nn.Linear(128, width))
        self.blocks = TransformerEncoder(
            width,
            config.depth,
            config.num_heads,
            config.drop_path_rate,
            config.use_grad_checkpoint,
        )
        self.norm = nn.LayerNorm(width)

    @classmethod
    def from_config(cls, cfg: Mapping[str, Any]) -> Self:
        """Build from the yaml keys of `PointBertConfig`.

        Raises:
            ConfigError: an unknown key or a value that cannot be used.
        """
        return cls(PointBertConfig.from_mapping(cfg))

    def forward(
        self, point_cloud: Tensor | None, groups: PointGroups | None = None
    ) -> PointEncoderOutput:
        """Encode clouds, or groups made before by `group`.

        Args:
            point_cloud: [B,N,3|6], xyz in the unit sphere, rgb in [0,1]; unused when `groups` is
                given and may then be None.
            groups: cached result of `group`, e.g. for a frozen encoder without augmentation.

        Returns:
            tokens [B,G,D], centers [B,G,3], global_feature [B,2D], cls_token [B,D].

        Raises:
            ShapeError: see `check_point_cloud`.
        """
        if groups is None:
            if point_cloud is None:
                raise TypeError("PointBert needs point_cloud or groups")
            groups = self.group(point_cloud)
        neighborhood, center = groups
        dtype = self.reduce_dim.weight.dtype

        group_feature = self.encoder(neighborhood.to(dtype))  # [B,G,encoder_dims]
        group_tokens = self.reduce_dim(group_feature)  # [B,G,D]
        group_position = self.pos_embed(center.to(dtype))  # [B,G,D]

        batch_size = center.shape[0]
        cls_token = self.cls_token.expand(batch_size, -1, -1).to(group_tokens.dtype)
        cls_pos = self.cls_pos.expand(batch_size, -1, -1).to(group_position.dtype)
        tokens = torch.cat([cls_token, group_tokens], dim=1)  # [B,1+G,D]
        position = torch.cat([cls_pos, group_position], dim=1)  # [B,1+G,D]
        tokens = self.norm(self.blocks(tokens, position))

        cls_token, point_tokens = tokens[:, 0], tokens[:, 1:]
        global_feature = torch.cat([cls_token, point_tokens.amax(dim=1)], dim=-1)  # [B,2D]
        return PointEncoderOutput(point_tokens, center, global_feature, cls_token)

    def group_indices(self, point_cloud: Tensor) -> GroupIndices:
        """Choose centres and their neighbours (coordinates only).

        Args:
            point_cloud: [B,N,3|6].

        Returns:
            center_index Long [B,G] and neighbor_index Long [B,G,S]; small enough to cache, and
            unchanged by rotation, shift and uniform scaling of the cloud.

        Raises:
            ShapeError: see `check_point_cloud`.
        """
        config = self.config
        min_points = max(config.num_group, config.group_size)
        why = f"num_group={config.num_group}, group_size={config.group_size}"
        check_point_cloud(point_cloud, min_points, why)
        xyz = point_cloud[..., :3].float()
        start: int | Tensor = 0
        if self.training and config.random_start:
            start = torch.randint(xyz.shape[1], (xyz.shape[0],)).to(xyz.device)
        center_index = farthest_point_sample(xyz, config.num_group, start)
        center = gather_points(xyz, center_index)  # [B,G,3]
        return GroupIndices(center_index, knn(center, xyz, config.group_size))

    def group(self, point_cloud: Tensor, indices: GroupIndices | None = None) -> PointGroups:
        """Divide clouds into groups of neighbours around farthest-point centres.

        Args:
            point_cloud: [B,N,3|6].
            indices: cached result of `group_indices` for these clouds.

        Returns:
            neighborhood float32 [B,G,S,C] and center float32 [B,G,3].

        Raises:
            ShapeError: see `check_point_cloud`.
        """
        center_index, neighbor_index = indices or self.group_indices(point_cloud)
        points = self._with_channels(point_cloud.float())  # [B,N,C]
        center = gather_points(points[..., :3], center_index)
        return PointGroups(group_points(points, neighbor_index, center), center)

    def _with_channels(self, points: Tensor) -> Tensor:
        """Give points [B,N,3|6] the channels that the network reads."""
        xyz = points[..., :3]
        if self.in_channels == 3:
            if points.shape[-1] > 3 and not self._told_color_unused:
                self._told_color_unused = True
                _logger.warning("point_dims is 3: the colour of the clouds is not used.")
            return xyz
        if points.shape[-1] == 3:
            color = torch.full_like(xyz, COLOR_VALUES[self.config.missing_color])
            return torch.cat([xyz, color], dim=-1)
        if self.config.legacy_color_bug:
            # GPT4Point v1.0 cut the cloud to xyz before reading the "last three" channels, so its
            # weights have learnt absolute coordinates in the place of colour.
            return torch.cat([xyz, xyz], dim=-1)
        return points
