"""Texts that come with objects: equal ones recognised over ranks, empty ones refused."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from lavis.common.errors import DataError


def text_keys(texts: Sequence[str]) -> Tensor:
    """Hash texts to int64 [B], so that equal ones (but for case and outer spaces) have equal keys.

    Python's own hash differs between processes; this one does not.
    """
    digests = [hashlib.blake2b(t.strip().lower().encode(), digest_size=8) for t in texts]
    return torch.tensor([int.from_bytes(d.digest(), "big", signed=True) for d in digests])


def require_texts(texts: Sequence[str]) -> list[str]:
    """Return texts as a list.

    Raises:
        DataError: some are empty, which nothing can be aligned with.
    """
    empty = [row for row, text in enumerate(texts) if not str(text).strip()]
    if empty:
        raise DataError(
            "empty captions cannot be aligned",
            where="samples['text_input']",
            got=f"positions {empty[:5]} of a batch of {len(texts)}",
            fix="filter them in the data set's annotation file",
        )
    return list(texts)
