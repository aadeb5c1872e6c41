"""Scaled dot-product attention by the kernel that trains fastest."""

from __future__ import annotations

from contextlib import nullcontext

from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

# Keys up to which the plain kernel's passes together are faster on CPU, in bf16 and float32.
_SHORT = 128


def attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, dropout: float = 0.0
) -> Tensor:
    """Attend from query [B,H,T,d] to key and value [B,H,S,d]: [B,H,T,d].

    On CPU the backward pass of torch's fused kernel takes two to eight times the plain one's for
    short sequences in bf16 (docs/LOG.md), so those that need a gradient go to the plain one.

    Args:
        query, key, value: projected and split into heads.
        mask: True where attention is allowed, [B or 1,1,T or 1,S]; None is everywhere.
        dropout: share of the attention weights that is dropped.
    """
    short = query.device.type == "cpu" and query.requires_grad and key.shape[-2] <= _SHORT
    with sdpa_kernel(SDPBackend.MATH) if short else nullcontext():
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
