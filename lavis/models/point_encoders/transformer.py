"""The plain pre-norm transformer of Point-BERT and I2P-MAE, with their parameter names."""

from __future__ import annotations

from collections.abc import Sequence

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

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend among tokens [B,T,D], where mask [B,1,T,T] (bool) is true if given."""
        batch_size, length, dim = tokens.shape
        qkv = self.qkv(tokens).view(batch_size, length, 3, self.num_heads, -1)  # [B,T,3,H,D/H]
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # [B,H,T,D/H] each
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
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

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Transform tokens [B,T,D]; mask as in `Attention`."""
        tokens = tokens + self.drop_path(self.attn(self.norm1(tokens), mask))
        return tokens + self.drop_path(self.mlp(self.norm2(tokens)))


def rising_rates(last: float, depth: int) -> list[float]:
    """Return stochastic-depth rates that rise linearly from 0 in the first block to `last`."""
    # On the CPU even when the encoder is laid out on the meta device.
    return torch.linspace(0, last, depth, device="cpu").tolist()


def run_block(block: nn.Module, *inputs: Tensor | None, recompute: bool) -> Tensor:
    """Call a block; with `recompute` its activations are recomputed in the backward pass."""
    return checkpoint(block, *inputs, use_reentrant=False) if recompute else block(*inputs)


class TransformerEncoder(nn.Module):
    """Blocks that each see the position again.

    Args:
        dim: token width.
        num_heads: attention heads, a divisor of `dim`.
        drop_path_rates: stochastic depth of every block; their number is the depth.
        use_grad_checkpoint: recompute blocks in the backward pass to save memory.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        drop_path_rates: Sequence[float],
        use_grad_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(dim, num_heads, rate) for rate in drop_path_rates)
        self.use_grad_checkpoint = use_grad_checkpoint

    def forward(self, tokens: Tensor, position: Tensor, mask: Tensor | None = None) -> Tensor:
        """Transform tokens [B,T,D]: position [B,T,D] is added before every block, attention is
        limited to the true entries of mask [B,1,T,T] if given."""
        recompute = self.use_grad_checkpoint and self.training
        for block in self.blocks:
            tokens = run_block(block, tokens + position, mask, recompute=recompute)
        return tokens
