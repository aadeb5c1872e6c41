"""PPAT, the point-patch transformer of OpenShape and MixCon3D.

OpenShape, arXiv:2305.10764; MixCon3D, arXiv:2311.01734. A set abstraction turns balls of points
into patches; the patch's centre, concatenated before the lift, is the only position. The class
token after pre-norm blocks is projected to the CLIP space of the release.
Parameter names equal those of the published checkpoints (`ppat.…`, `proj.…`). Different on
purpose: sampling starts at point 0 (public code draws the first centre).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lavis.models.point_encoders.base import PointEncoder, PointEncoderOutput
from lavis.models.point_encoders.config import EncoderConfig, is_size, refuse
from lavis.models.point_encoders.registry import register_point_encoder
from lavis.models.point_encoders.set_abstraction import SetAbstraction
from lavis.models.point_encoders.transformer import DropPath, rising_rates, run_block

HEAD_DIM = 64  # width of an attention head, whatever the token width: as published

# scaling: (trans_dim, depth, num_heads, mlp_dim, sa_dim, num_group, radius, group_size)
SCALINGS = {
    1: (256, 6, 4, 1024, 96, 64, 0.4, 256),
    2: (512, 6, 8, 1024, 128, 64, 0.4, 256),
    3: (512, 12, 8, 1024, 128, 128, 0.35, 128),
    4: (512, 12, 8, 1536, 256, 384, 0.2, 64),
    5: (768, 12, 12, 2304, 256, 512, 0.2, 64),
    6: (768, 24, 12, 3072, 256, 512, 0.2, 64),
}
SIZE_KEYS = ("trans_dim", "depth", "num_heads", "mlp_dim", "sa_dim", "num_group", "group_size")


@dataclass(frozen=True)
class PpatConfig(EncoderConfig):
    """Sizes of PPAT; the defaults are OpenShape's released `pointbert-*` (scaling 4).

    Attributes:
        scaling: published size 1 to 6 (5.1, 13.3, 26.0, 32.3, 72.1, 171.3 million parameters
            with 6 channels and out_dim 1280). MixCon3D trains scaling 3.
        out_dim: width of the global feature: 1280 for ViT-bigG-14, 768 for ViT-L/14; null takes
            the class token itself (ViT-B/32).
        trans_dim, depth, num_heads, mlp_dim, sa_dim, num_group, radius, group_size: null takes the
            published value of `scaling`.
    """

    scaling: int = 4
    out_dim: int | None = 1280
    trans_dim: int | None = None
    depth: int | None = None
    num_heads: int | None = None
    mlp_dim: int | None = None
    sa_dim: int | None = None
    num_group: int | None = None
    radius: float | None = None
    group_size: int | None = None
    point_dims: int = 6
    missing_color: str = "grey"

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.scaling, bool) or self.scaling not in SCALINGS:
            refuse("scaling", self.scaling, f"one of {list(SCALINGS)}")
        for key in ("out_dim", *SIZE_KEYS):
            if getattr(self, key) is not None and not is_size(getattr(self, key)):
                refuse(key, getattr(self, key), "a positive integer or null")
        radius = self.radius
        if radius is not None and (not isinstance(radius, int | float) or radius <= 0):
            refuse("radius", radius, "a positive number or null")

    def size(self, key: str) -> Any:
        """Return the value of `key`: its own or that of the scaling."""
        order = [f.name for f in fields(self) if f.name in SIZE_KEYS or f.name == "radius"]
        own = getattr(self, key)
        return SCALINGS[self.scaling][order.index(key)] if own is None else own


class PreNorm(nn.Module):
    """A residual branch: normalise, apply, drop by chance, add."""

    def __init__(self, dim: int, branch: nn.Module, drop_path_rate: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fn = branch
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform tokens [B,T,D]."""
        return tokens + self.drop_path(self.fn(self.norm(tokens)))


class WideAttention(nn.Module):
    """Self-attention with heads of `HEAD_DIM`; queries, keys and values have no bias."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.to_qkv = nn.Linear(dim, 3 * num_heads * HEAD_DIM, bias=False)
        self.to_out = nn.Sequential(nn.Linear(num_heads * HEAD_DIM, dim))

    def forward(self, tokens: Tensor) -> Tensor:
        """Attend among tokens [B,T,D]."""
        batch_size, length, _ = tokens.shape
        qkv = self.to_qkv(tokens).view(batch_size, length, 3, self.num_heads, HEAD_DIM)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # [B,H,T,64] each
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.to_out(mixed.transpose(1, 2).reshape(batch_size, length, -1))


class FeedForward(nn.Module):
    """Feed-forward layer; the places of the published dropout (rate 0) keep the names."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        layers = [nn.Linear(dim, hidden), nn.GELU(), nn.Identity(), nn.Linear(hidden, dim)]
        self.net = nn.Sequential(*layers)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens [B,T,D] one by one."""
        return self.net(tokens)


class Transformer(nn.Module):
    """Pairs of attention and feed-forward branches."""

    def __init__(self, config: PpatConfig) -> None:
        super().__init__()
        dim, heads, hidden = (config.size(key) for key in ("trans_dim", "num_heads", "mlp_dim"))
        self.use_grad_checkpoint = config.use_grad_checkpoint
        self.layers = nn.ModuleList(
            nn.ModuleList(
                [
                    PreNorm(dim, WideAttention(dim, heads), rate),
                    PreNorm(dim, FeedForward(dim, hidden), rate),
                ]
            )
            for rate in rising_rates(config.drop_path_rate, config.size("depth"))
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform tokens [B,T,D]."""
        recompute = self.use_grad_checkpoint and self.training
        pairs: Iterable[Any] = self.layers
        for attention, feed_forward in pairs:
            tokens = run_block(attention, tokens, recompute=recompute)
            tokens = run_block(feed_forward, tokens, recompute=recompute)
        return tokens


class PatchTransformer(nn.Module):
    """Patches, lift, class token, blocks: everything before the projection."""

    def __init__(self, config: PpatConfig) -> None:
        super().__init__()
        dim, patch_width = config.size("trans_dim"), config.size("sa_dim")
        self.sa = SetAbstraction(
            config.size("num_group"),
            config.size("radius"),
            config.size("group_size"),
            config.point_dims,
            (64, 64, patch_width),
        )
        lift = nn.Conv1d(patch_width + 3, dim, 1)
        self.lift = nn.Sequential(lift, nn.Identity(), nn.LayerNorm(dim))  # published: 0 and 2
        self.cls_token = nn.Parameter(torch.randn(dim))
        self.transformer = Transformer(config)

    def forward(
        self, points: Tensor, start: int | Tensor, lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Encode points [B,N,C] -> tokens [B,1+G,D] (class token first), centers [B,G,3]."""
        center, patches = self.sa(points[..., :3].contiguous(), points, start, lengths)
        placed = torch.cat([center.to(patches.dtype), patches], dim=-1)  # [B,G,3+P]
        lift: Any = self.lift[0]
        tokens = self.lift[2](F.linear(placed, lift.weight.squeeze(-1), lift.bias))  # [B,G,D]
        cls_token = self.cls_token.expand(len(tokens), 1, -1).to(tokens.dtype)
        return self.transformer(torch.cat([cls_token, tokens], dim=1)), center


@register_point_encoder("ppat")
class Ppat(PointEncoder):
    """Point-patch transformer; the global feature is the projected class token."""

    config: PpatConfig
    config_class = PpatConfig
    reads_lengths = True

    def __init__(self, config: PpatConfig | None = None) -> None:
        config = config or PpatConfig()
        super().__init__(config, min_points=config.size("num_group"))
        self.embed_dim = config.size("trans_dim")
        self.num_tokens = config.size("num_group")
        self.global_dim = config.out_dim or self.embed_dim
        self.ppat = PatchTransformer(config)
        self.proj = nn.Linear(self.embed_dim, config.out_dim) if config.out_dim else nn.Identity()

    def rename_published(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Put the bare patch transformer of OpenShape's B/32 file under `ppat.`."""
        if any(name.startswith("ppat.") for name in tensors):
            return dict(tensors)
        return {f"ppat.{name}": tensor for name, tensor in tensors.items()}

    def forward(self, point_cloud: Tensor, *, lengths: Tensor | None = None) -> PointEncoderOutput:
        """Encode clouds (`PointEncoder.forward`).

        Returns:
            tokens [B,G,D], centers [B,G,3], global_feature [B,out_dim], cls_token [B,D].
        """
        points = self.prepare(point_cloud, lengths)
        counts = self.prepared_lengths(lengths)
        tokens, center = self.ppat(points, self.first_center(points, counts), counts)
        cls_token = tokens[:, 0]
        return PointEncoderOutput(
            tokens[:, 1:], self.cloud_axes(center), self.proj(cls_token), cls_token
        )
