"""Point-BERT: groups of points as tokens of a transformer.

Yu et al., arXiv:2111.14819, in the layout of ULIP / ULIP-2 (arXiv:2305.08275) that PointBLIP,
GPT4Point and PointLLM use; parameter names equal those of the published checkpoints.
Different from the public code, with the same result: exact and fast grouping, a split
mini-PointNet and fused attention. Different on purpose: the first centre is point 0 (public code
draws it at random even in eval, so its features change from call to call).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lavis.models.point_encoders.base import PointEncoder, PointEncoderOutput
from lavis.models.point_encoders.config import EncoderConfig, refuse
from lavis.models.point_encoders.grouping import (
    PointGroups,
    collect_groups,
    nearest_groups,
)
from lavis.models.point_encoders.mini_pointnet import MiniPointNet
from lavis.models.point_encoders.registry import register_point_encoder
from lavis.models.point_encoders.transformer import TransformerEncoder, rising_rates


@dataclass(frozen=True)
class PointBertConfig(EncoderConfig):
    """Sizes and switches of Point-BERT; the defaults are the published ULIP-2 / PointBLIP encoder.

    Attributes:
        trans_dim: D, token width.
        depth: transformer blocks.
        num_heads: attention heads, a divisor of trans_dim.
        group_size: S, points per group.
        num_group: G, groups (= tokens) per cloud.
        encoder_dims: width of a group vector out of the mini-PointNet.
        stem_dims: hidden widths of the mini-PointNet.
        legacy_color_bug: feed xyz in place of rgb, for weights of GPT4Point v1.0.
    """

    trans_dim: int = 384
    depth: int = 12
    num_heads: int = 6
    group_size: int = 32
    num_group: int = 512
    encoder_dims: int = 256
    stem_dims: tuple[int, int, int] = (128, 256, 512)
    drop_path_rate: float = 0.1
    legacy_color_bug: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_sizes("trans_dim", "depth", "num_heads", "group_size", "num_group")
        self.require_sizes("encoder_dims")
        self.require_size_lists(3, "stem_dims")
        self.require_flags("legacy_color_bug")
        self.require_heads(self.trans_dim, self.num_heads)
        if self.legacy_color_bug and self.point_dims != 6:
            refuse("legacy_color_bug", True, "point_dims: 6 beside it")


@register_point_encoder("point_bert", "ulip_point_bert")
class PointBert(PointEncoder):
    """Point-BERT encoder; every size comes from `PointBertConfig`.

    The global feature is the class token and the maximum over the tokens, side by side (F = 2D),
    as in ULIP.
    """

    config: PointBertConfig
    config_class = PointBertConfig
    reads_lengths = True
    # Point-BERT's own pre-training heads and classifier.
    published_extras = ("cls_head.[0-9].*", "cls_head_finetune.*", "lm_head.*", "mask_token")

    def __init__(self, config: PointBertConfig | None = None) -> None:
        config = config or PointBertConfig()
        super().__init__(config, min_points=max(config.num_group, config.group_size))
        self.embed_dim = width = config.trans_dim
        self.num_tokens = config.num_group
        self.global_dim = 2 * width

        self.encoder = MiniPointNet(config.point_dims, config.stem_dims, config.encoder_dims)
        self.reduce_dim = nn.Linear(config.encoder_dims, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.cls_pos = nn.Parameter(torch.randn(1, 1, width))
        self.pos_embed = nn.Sequential(nn.Linear(3, 128), nn.GELU(), nn.Linear(128, width))
        self.blocks = TransformerEncoder(
            width,
            config.num_heads,
            rising_rates(config.drop_path_rate, config.depth),
            config.use_grad_checkpoint,
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, point_cloud: Tensor, *, lengths: Tensor | None = None) -> PointEncoderOutput:
        """Encode clouds (`PointEncoder.forward`).

        Returns:
            tokens [B,G,D], centers [B,G,3], global_feature [B,2D], cls_token [B,D].
        """
        neighborhood, center = self.group(point_cloud, lengths)
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
        return PointEncoderOutput(point_tokens, self.cloud_axes(center), global_feature, cls_token)

    def group(self, point_cloud: Tensor, lengths: Tensor | None = None) -> PointGroups:
        """Divide clouds into groups of neighbours around farthest-point centres.

        Args:
            point_cloud, lengths: see `forward`.

        Returns:
            neighborhood float32 [B,G,S,C] and center float32 [B,G,3], in the weights' axes.
        """
        points = self.prepare(point_cloud, lengths)  # [B,N,C]
        counts = self.prepared_lengths(lengths)
        xyz = points[..., :3]
        sizes = (self.config.num_group, self.config.group_size)
        indices = nearest_groups(xyz, *sizes, self.first_center(xyz, counts), counts)
        return collect_groups(points, indices)

    def channels(self, points: Tensor) -> Tensor:
        """Give points [B,N,3|6] the channels that the network reads."""
        if self.config.legacy_color_bug and points.shape[-1] == 6:
            # GPT4Point v1.0 cut the cloud to xyz before reading the "last three" channels, so its
            # weights have learnt absolute coordinates in the place of colour.
            return torch.cat([points[..., :3], points[..., :3]], dim=-1)
        return super().channels(points)
