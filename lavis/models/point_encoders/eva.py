"""The EVA and EVA-02 vision transformers that Uni3D runs over groups of points.

EVA, arXiv:2211.07636; EVA-02, arXiv:2303.11331; parameter names of timm's `eva.py`, in which the
Uni3D weights were saved. Uni3D calls the blocks without rotary positions, so there are none here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lavis.models.point_encoders.transformer import DropPath, rising_rates, run_block

_EPS = 1e-6  # of every LayerNorm in timm


@dataclass(frozen=True)
class EvaSizes:
    """Sizes of one trunk.

    Attributes:
        width, depth, num_heads, hidden: of the transformer.
        fused: queries, keys and values in one matrix.
        gated: SwiGLU feed-forward instead of GELU.
        inner_norm: LayerNorm inside the feed-forward (only gated trunks without `fused`).
    """

    width: int
    depth: int
    num_heads: int
    hidden: int
    fused: bool = False
    gated: bool = True
    inner_norm: bool = True


EVA_SIZES = {
    "eva02_tiny": EvaSizes(192, 12, 3, 512, fused=True, inner_norm=False),
    "eva02_small": EvaSizes(384, 12, 6, 1024, fused=True, inner_norm=False),
    "eva02_base": EvaSizes(768, 12, 12, 2048),
    "eva02_large": EvaSizes(1024, 24, 16, 2730),
    "eva_giant": EvaSizes(1408, 40, 16, 6144, fused=True, gated=False, inner_norm=False),
}


class EvaAttention(nn.Module):
    """Self-attention whose keys have no bias."""

    def __init__(self, sizes: EvaSizes) -> None:
        super().__init__()
        width = sizes.width
        self.num_heads, self.fused = sizes.num_heads, sizes.fused
        if sizes.fused:
            self.qkv = nn.Linear(width, 3 * width, bias=False)
            self.q_bias = nn.Parameter(torch.zeros(width))
            self.v_bias = nn.Parameter(torch.zeros(width))
        else:
            self.q_proj = nn.Linear(width, width)
            self.k_proj = nn.Linear(width, width, bias=False)
            self.v_proj = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Attend among tokens [B,T,D]."""
        if self.fused:
            bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
            parts = F.linear(tokens, self.qkv.weight, bias).chunk(3, dim=-1)
        else:
            parts = (self.q_proj(tokens), self.k_proj(tokens), self.v_proj(tokens))
        heads = (part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in parts)
        mixed = F.scaled_dot_product_attention(*heads)  # [B,H,T,D/H]
        return self.proj(mixed.transpose(1, 2).flatten(2))


class EvaMlp(nn.Module):
    """Feed-forward: GELU, packed SwiGLU, or SwiGLU in two matrices with a LayerNorm inside."""

    def __init__(self, sizes: EvaSizes) -> None:
        super().__init__()
        self.gated, self.packed = sizes.gated, not sizes.inner_norm
        if self.packed:
            self.fc1 = nn.Linear(sizes.width, sizes.hidden * (2 if sizes.gated else 1))
        else:
            self.fc1_g = nn.Linear(sizes.width, sizes.hidden)
            self.fc1_x = nn.Linear(sizes.width, sizes.hidden)
            self.norm = nn.LayerNorm(sizes.hidden, eps=_EPS)
        self.fc2 = nn.Linear(sizes.hidden, sizes.width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens [B,T,D] one by one."""
        if not self.packed:
            return self.fc2(self.norm(F.silu(self.fc1_g(tokens)) * self.fc1_x(tokens)))
        hidden = self.fc1(tokens)
        if not self.gated:
            return self.fc2(F.gelu(hidden))
        gate, value = hidden.chunk(2, dim=-1)
        return self.fc2(F.silu(gate) * value)


class EvaBlock(nn.Module):
    """Pre-norm attention and feed-forward with stochastic depth."""

    def __init__(self, sizes: EvaSizes, drop_path_rate: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(sizes.width, eps=_EPS)
        self.attn = EvaAttention(sizes)
        self.norm2 = nn.LayerNorm(sizes.width, eps=_EPS)
        self.mlp = EvaMlp(sizes)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform tokens [B,T,D]."""
        tokens = tokens + self.drop_path(self.attn(self.norm1(tokens)))
        return tokens + self.drop_path(self.mlp(self.norm2(tokens)))


class EvaTrunk(nn.Module):
    """Blocks and the final norm: tokens [B,T,D] -> [B,T,D]."""

    def __init__(self, sizes: EvaSizes, drop_path_rate: float, use_grad_checkpoint: bool) -> None:
        super().__init__()
        self.width = sizes.width
        self.use_grad_checkpoint = use_grad_checkpoint
        rates = rising_rates(drop_path_rate, sizes.depth)
        self.blocks = nn.ModuleList(EvaBlock(sizes, rate) for rate in rates)
        self.fc_norm = nn.LayerNorm(sizes.width, eps=_EPS)

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform tokens [B,T,D]."""
        recompute = self.use_grad_checkpoint and self.training
        for block in self.blocks:
            tokens = run_block(block, tokens, recompute=recompute)
        return self.fc_norm(tokens)
