"""The plain pre-norm transformer of Point-BERT, with the parameter names of its checkpoints."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class DropPath(nn.Module):
    """Stochastic depth: drop a residual branch per sample (arXiv:1603.09382).

    Args:
        rate: probability in [0,1) of dropping; kept samples are scaled by 1/(1-rate).
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        """Drop rows of branch [B,T,D] in training."""
        if not self.training or self.rate == 0.0:
            return branch
        keep = 1.0 - self.rate
        mask = branch.new_empty(branch.shape[0], 1, 1).bernoulli_(keep)  # [B,1,1]
        return branch * mask.div_(keep)


class Attention(nn.Module):
    """Self-attention; queries, keys and values have no bias, as published."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Attend among tokens [B,T,D]."""
        batch_size, length, dim = tokens.shape
        qkv = self.qkv(tokens).view(batch_size, length, 3, self.num_heads, -1)  # [B,T,3,H,D/H]
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # [B,H,T,D/H] each
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).reshape(batch_size, length, dim))


class Mlp(nn.Module):
    """Feed-forward layer, four times as wide inside."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens [B,T,D] one by one."""
        return self.fc2(F.gelu(self.fc1(tokens)))


class Block(nn.Module):
    """Pre-norm attention and feed-forward, each a residual branch with stochastic depth."""

    def __init__(self, dim: int, num_heads: int, drop_path_rate: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform tokens [B,T,D]."""
        tokens = tokens + self.drop_path(self.attn(self.norm1(tokens)))
        return tokens + self.drop_path(self.mlp(self.norm2(tokens)))


class TransformerEncoder(nn.Module):
    """Blocks that each see the position again.

    Args:
        dim: token width.
        depth: number of blocks.
        num_heads: attention heads, a divisor of `dim`.
        drop_path_rate: stochastic depth of the last block; it rises linearly from 0.
        use_grad_checkpoint: recompute blocks in the backward pass to save memory.
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        num_heads: int,
        drop_path_rate: float = 0.0,
        use_grad_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        rates = torch.linspace(0, drop_path_rate, depth).tolist()
        self.blocks = nn.ModuleList(Block(dim, num_heads, rate) for rate in rates)
        self.use_grad_checkpoint = use_grad_checkpoint

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        """Transform tokens [B,T,D] with position [B,T,D] added before every block."""
        for block in self.blocks:
            placed = tokens + position
            if self.use_grad_checkpoint and self.training:
                tokens = checkpoint(block, placed, use_reentrant=False)
            else:
                tokens = block(placed)
        return tokens
