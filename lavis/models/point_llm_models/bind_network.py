"""From a joint embedding to the width of a language model."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class RMSNorm(nn.RMSNorm):
    """LLaMA's norm, which takes the mean in float32."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension."""
        return super().forward(x.float()).to(x.dtype)


class GatedBlock(nn.Module):
    """x + W2(SiLU(W1 n(x)) * W3 n(x)).

    Args:
        width: D.
        hidden: of the layers W1 and W3.
        legacy: LayerNorm and biases (the first release); else RMSNorm and no bias.
    """

    def __init__(self, width: int, hidden: int, legacy: bool = True) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width) if legacy else RMSNorm(width, eps=1e-6)
        self.w1 = nn.Linear(width, hidden, bias=legacy)
        self.w2 = nn.Linear(hidden, width, bias=legacy)
        self.w3 = nn.Linear(width, hidden, bias=legacy)

    def forward(self, x: Tensor) -> Tensor:
        """Transform [..., D]."""
        normed = self.norm(x)
        return x + self.w2(F.silu(self.w1(normed)) * self.w3(normed))


class BindNetwork(nn.Module):
    """A linear layer and three gated blocks (Point-LLM, arXiv 2309.00615, section 3.3).

    Args:
        embed_dim: E of the joint space (ImageBind: 1024).
        width: D_llm (LLaMA-7B: 4096).
        expansion: hidden width over D_llm.
        blocks: number of gated blocks.
        legacy: see `GatedBlock`.
    """

    def __init__(
        self, embed_dim: int, width: int, expansion: int = 4, blocks: int = 3, legacy: bool = True
    ) -> None:
        super().__init__()
        self.proj = nn.Linear(embed_dim, width)
        self.blocks = nn.ModuleList(
            GatedBlock(width, expansion * width, legacy) for _ in range(blocks)
        )

    def forward(self, embeds: Tensor) -> Tensor:
        """Turn unit embeddings [B,E] into vectors [B,1,D_llm]."""
        x = self.proj(embeds)[:, None]
        for block in self.blocks:
            x = block(x)
        return x
