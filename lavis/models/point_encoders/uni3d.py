"""Uni3D: a vision transformer over groups of points.

Zhou et al., arXiv:2310.06773. Groups become tokens through Point-BERT's mini-PointNet; an image
transformer reads them in the place of patches. `backbone` names the trunks of the release
(EVA-02 tiny to large, EVA giant; parameter names of its checkpoints) or any plain vision
transformer of the transformers library or of timm.
Different on purpose: sampling is exact (the public CUDA operator skips points within 0.03 of the
origin), and every token passes the final norm, not only the class token.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lavis.models.point_encoders.base import PointEncoder, PointEncoderOutput
from lavis.models.point_encoders.config import EncoderConfig, refuse
from lavis.models.point_encoders.eva import EVA_SIZES, EvaTrunk
from lavis.models.point_encoders.grouping import collect_groups, nearest_groups
from lavis.models.point_encoders.mini_pointnet import MiniPointNet
from lavis.models.point_encoders.registry import register_point_encoder
from lavis.models.point_encoders.timm_backbone import TimmTrunk, timm_options
from lavis.models.point_encoders.vision_backbone import VisionTrunk


@dataclass(frozen=True)
class Uni3dConfig(EncoderConfig):
    """Sizes of Uni3D; the defaults are the released Uni3D-B.

    Attributes:
        backbone: eva02_tiny, eva02_small, eva02_base, eva02_large, eva_giant (Uni3D-Ti to g); a
            folder or hub name of a transformers vision model; a mapping with `model_type`;
            timm:<name> (fresh weights), or a mapping with `timm` and arguments of its create_model.
        group_size: S, points per group.
        num_group: G, groups (= tokens) per cloud.
        encoder_dims: width of a group vector out of the mini-PointNet.
        stem_dims: hidden widths of the mini-PointNet.
        out_dim: width of the global feature: 1024 for EVA02-E-14-plus, the release's CLIP.
    """

    backbone: str | Mapping[str, Any] = "eva02_base"
    group_size: int = 64
    num_group: int = 512
    encoder_dims: int = 512
    stem_dims: tuple[int, int, int] = (128, 256, 512)
    out_dim: int = 1024
    point_dims: int = 6
    missing_color: str = "grey"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_sizes("group_size", "num_group", "encoder_dims", "out_dim")
        self.require_size_lists(3, "stem_dims")
        if not isinstance(self.backbone, str | Mapping) or not self.backbone:
            refuse(
                "backbone", self.backbone, "a name, a folder or a mapping with model_type or timm"
            )


@register_point_encoder("uni3d")
class Uni3d(PointEncoder):
    """Vision transformer over groups; the global feature is the projected class token."""

    config: Uni3dConfig
    config_class = Uni3dConfig
    reads_lengths = True
    # The image half of the trunk, saved with it though unused.
    published_extras = (
        "visual.patch_embed.*",
        "visual.pos_embed",
        "visual.cls_token",
        "visual.head.*",
        "visual.rope.*",
    )

    def __init__(self, config: Uni3dConfig | None = None) -> None:
        config = config or Uni3dConfig()
        super().__init__(config, min_points=max(config.num_group, config.group_size))
        depth_keys = (config.drop_path_rate, config.use_grad_checkpoint)
        self.visual: EvaTrunk | TimmTrunk | VisionTrunk
        of_timm = timm_options(config.backbone)
        if isinstance(config.backbone, str) and config.backbone in EVA_SIZES:
            self.visual = EvaTrunk(EVA_SIZES[config.backbone], *depth_keys)
        elif of_timm is not None:
            self.visual = TimmTrunk(of_timm, *depth_keys)
        else:
            self.visual = VisionTrunk(config.backbone, *depth_keys)
        self.embed_dim = width = self.visual.width
        self.num_tokens = config.num_group
        self.global_dim = config.out_dim
        self.encoder = MiniPointNet(config.point_dims, config.stem_dims, config.encoder_dims)
        self.encoder2trans = nn.Linear(config.encoder_dims, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.cls_pos = nn.Parameter(torch.randn(1, 1, width))
        self.pos_embed = nn.Sequential(nn.Linear(3, 128), nn.GELU(), nn.Linear(128, width))
        self.trans2embed = nn.Linear(width, config.out_dim)

    def forward(self, point_cloud: Tensor, *, lengths: Tensor | None = None) -> PointEncoderOutput:
        """Encode clouds (`PointEncoder.forward`).

        Returns:
            tokens [B,G,D], centers [B,G,3], global_feature [B,out_dim], cls_token [B,D].
        """
        points = self.prepare(point_cloud, lengths)
        counts = self.prepared_lengths(lengths)
        sizes = (self.config.num_group, self.config.group_size)
        xyz = points[..., :3].contiguous()
        indices = nearest_groups(xyz, *sizes, self.first_center(xyz, counts), counts)
        neighborhood, center = collect_groups(points, indices)
        dtype = self.trans2embed.weight.dtype
        group_tokens = self.encoder2trans(self.encoder(neighborhood.to(dtype)))  # [B,G,D]
        group_tokens = group_tokens + self.pos_embed(center.to(dtype))
        cls_token = (self.cls_token + self.cls_pos).to(group_tokens.dtype)
        cls_token = cls_token.expand(len(points), -1, -1)  # [B,1,D]
        tokens = self.visual(torch.cat([cls_token, group_tokens], dim=1))  # [B,1+G,D]
        cls_token = tokens[:, 0]
        return PointEncoderOutput(
            tokens[:, 1:], self.cloud_axes(center), self.trans2embed(cls_token), cls_token
        )
