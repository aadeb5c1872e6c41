"""I2P-MAE's hierarchical encoder, as Point-Bind uses it.

Zhang et al., arXiv:2212.06785; Point-Bind, arXiv:2309.00615. Three levels of groups (512, 256, 64):
the first level's tokens come from points, the others merge the tokens around a farthest-point
subset of the centres. Attention reaches only centres nearer than the level's radius.
Parameter names equal those of the published Point-Bind checkpoint. Different on purpose: sampling
is exact (the public CUDA operator skips points within 0.03 of the origin).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from lavis.models.point_encoders.base import PointEncoder, PointEncoderOutput
from lavis.models.point_encoders.config import EncoderConfig, refuse
from lavis.models.point_encoders.grouping import collect_groups, nearest_groups
from lavis.models.point_encoders.mini_pointnet import MiniPointNet
from lavis.models.point_encoders.registry import register_point_encoder
from lavis.models.point_encoders.transformer import TransformerEncoder, rising_rates
from lavis.models.point_ops import gather_points


@dataclass(frozen=True)
class I2pMaeConfig(EncoderConfig):
    """Sizes of the hierarchical encoder; the defaults are Point-Bind's. One entry per level.

    Attributes:
        num_groups: groups per level.
        group_sizes: points (then tokens) per group.
        encoder_dims: token widths; the last is D.
        encoder_depths: transformer blocks.
        local_radius: reach of attention between centres.
        num_heads: attention heads, a divisor of every width.
        stem_dims: hidden widths of the first level's mini-PointNet.
    """

    num_groups: tuple[int, ...] = (512, 256, 64)
    group_sizes: tuple[int, ...] = (48, 24, 24)
    encoder_dims: tuple[int, ...] = (96, 192, 384)
    encoder_depths: tuple[int, ...] = (5, 5, 5)
    local_radius: tuple[float, ...] = (0.24, 0.48, 0.96)
    num_heads: int = 6
    stem_dims: tuple[int, int, int] = (128, 256, 512)
    drop_path_rate: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_size_lists(None, "num_groups")
        levels = len(self.num_groups)
        self.require_size_lists(levels, "group_sizes", "encoder_dims", "encoder_depths")
        self.require_size_lists(3, "stem_dims")
        self.require_sizes("num_heads")
        for width in self.encoder_dims:
            self.require_heads(width, self.num_heads, of="encoder_dims")
        radii = self.local_radius
        numbers = isinstance(radii, tuple) and all(isinstance(r, int | float) for r in radii)
        if not numbers or len(radii) != levels or min(radii) <= 0:
            refuse("local_radius", radii, f"{levels} positive numbers, one per level")
        for above, here, size in zip(self.num_groups, self.num_groups[1:], self.group_sizes[1:]):
            if max(here, size) > above:
                refuse("num_groups", self.num_groups, "no level larger than the one before it")


class HierarchicalEncoder(nn.Module):
    """Token embedding or merging, position and local attention for every level."""

    def __init__(self, config: I2pMaeConfig) -> None:
        super().__init__()
        widths = config.encoder_dims
        self.radius = config.local_radius
        stems: list[MiniPointNet] = [MiniPointNet(config.point_dims, config.stem_dims, widths[0])]
        for below, width in pairwise(widths):
            stems.append(MiniPointNet(below, (below, below, width), width))
        self.token_embed = nn.ModuleList(stems)
        self.encoder_pos_embeds = nn.ModuleList(
            nn.Sequential(nn.Linear(3, width), nn.GELU(), nn.Linear(width, width))
            for width in widths
        )
        rates = iter(rising_rates(config.drop_path_rate, sum(config.encoder_depths)))
        self.encoder_blocks = nn.ModuleList(
            TransformerEncoder(
                width,
                config.num_heads,
                [next(rates) for _ in range(depth)],
                config.use_grad_checkpoint,
            )
            for width, depth in zip(widths, config.encoder_depths)
        )
        self.apply(_initialise)

    def forward(
        self, neighborhood: Tensor, centers: Sequence[Tensor], merges: Sequence[Tensor]
    ) -> Tensor:
        """Encode.

        Args:
            neighborhood: [B,G1,S1,C], groups of the first level.
            centers: [B,Gi,3] of every level.
            merges: Long [B,Gi,Si] for the levels after the first, into the level before.

        Returns:
            Tokens [B,G,D] of the last level.
        """
        tokens = self._level(0, self.token_embed[0](neighborhood), centers[0])
        for level, merge in enumerate(merges, start=1):
            merged = self.token_embed[level](gather_points(tokens, merge))  # [B,Gi,Di]
            tokens = self._level(level, merged, centers[level])
        return tokens

    def _level(self, level: int, tokens: Tensor, center: Tensor) -> Tensor:
        """Let tokens [B,G,D] of one level attend to those within its radius."""
        position = self.encoder_pos_embeds[level](center.to(tokens.dtype))
        # The matrix-product form of cdist loses digits, and so points at the rim.
        exact = "donot_use_mm_for_euclid_dist"
        near = torch.cdist(center, center, compute_mode=exact) < self.radius[level]  # [B,G,G]
        return self.encoder_blocks[level](tokens, position, near[:, None])


@register_point_encoder("i2p_mae")
class I2pMae(PointEncoder):
    """I2P-MAE encoder; the global feature is mean plus maximum over the tokens (F = D)."""

    config: I2pMaeConfig
    config_class = I2pMaeConfig
    reads_lengths = True

    def __init__(self, config: I2pMaeConfig | None = None) -> None:
        config = config or I2pMaeConfig()
        super().__init__(config, min_points=max(config.num_groups[0], config.group_sizes[0]))
        self.embed_dim = self.global_dim = config.encoder_dims[-1]
        self.num_tokens = config.num_groups[-1]
        self.h_encoder = HierarchicalEncoder(config)
        self.norm = nn.LayerNorm(self.embed_dim)

    def forward(self, point_cloud: Tensor, *, lengths: Tensor | None = None) -> PointEncoderOutput:
        """Encode clouds (`PointEncoder.forward`).

        Returns:
            tokens [B,G,D], centers [B,G,3] of the last level, global_feature [B,D], no class token.
        """
        points = self.prepare(point_cloud, lengths)
        counts = self.prepared_lengths(lengths)
        sizes = list(zip(self.config.num_groups, self.config.group_sizes))
        start = self.first_center(points, counts)
        indices = nearest_groups(points[..., :3].contiguous(), *sizes[0], start, counts)
        neighborhood, center = collect_groups(points, indices)
        centers, merges = [center], []
        for num_group, group_size in sizes[1:]:
            indices = nearest_groups(centers[-1], num_group, group_size)
            merges.append(indices.neighbor_index)
            centers.append(gather_points(centers[-1], indices.center_index))

        dtype = self.norm.weight.dtype
        tokens = self.norm(self.h_encoder(neighborhood.to(dtype), centers, merges))
        global_feature = tokens.mean(dim=1) + tokens.amax(dim=1)  # [B,D]
        return PointEncoderOutput(tokens, self.cloud_axes(centers[-1]), global_feature)


def _initialise(module: nn.Module) -> None:
    """Draw weights as published: truncated normal 0.02, zero bias."""
    if isinstance(module, nn.Linear | nn.Conv1d):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
