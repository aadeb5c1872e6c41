"""Embeddings of frozen teachers that come with a batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lavis.common.errors import DataError
from lavis.models.contrastive import full_precision


def batch_embeds(
    samples: Mapping[str, Any], name: str, size: int, width: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return embeddings [B,V,E] of a batch, zeros where an item has none, and which exist [B,V].

    Args:
        samples: `<name>` [B,E] or [B,V,E] and `<name>_mask` [B] or [B,V]; without a mask all exist,
            without the field none.
        name: of the field, e.g. `image_embeds`.
        size: B, where the field is absent.
        width: E.
        device: of the result.

    Raises:
        DataError: another width.
    """
    embeds = samples.get(name)
    if embeds is None:
        absent = torch.zeros(size, 1, width, device=device)
        return absent, torch.zeros(size, 1, dtype=torch.bool, device=device)
    if embeds.shape[-1] != width:
        what = "embeddings of a teacher have another width than the joint space"
        got, fix = list(embeds.shape), f"model.embed_dim={embeds.shape[-1]}, or another teacher"
        raise DataError(what, where=name, got=got, expected=f"[…,{width}]", fix=fix)
    embeds = full_precision(embeds).to(device)
    embeds = embeds[:, None] if embeds.ndim == 2 else embeds  # [B,E] -> [B,1,E]
    mask = samples.get(f"{name}_mask")
    given = torch.ones(embeds.shape[:2], dtype=torch.bool) if mask is None else mask.bool()
    exists = given.to(device).view(embeds.shape[:2])
    # What a mask leaves out may be NaN.
    return embeds.masked_fill(~exists[..., None], 0), exists
