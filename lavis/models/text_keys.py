"""Recognise equal texts over ranks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def text_keys(texts: Sequence[str]) -> Tensor:
    """Hash texts to int64 [B], so that equal ones (but for case and outer spaces) have equal keys.

    Python's own hash differs between processes; this one does not.
    """
    digests = [hashlib.blake2b(t.strip().lower().encode(), digest_size=8) for t in texts]
    return torch.tensor([int.from_bytes(d.digest(), "big", signed=True) for d in digests])
