"""Models whose every loss is a contrastive term."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lavis.common.dist_utils import get_rank
from lavis.models.contrastive.grad_cache import Encoded, whole_batch
from lavis.models.contrastive.terms import ContrastiveTerms, Term
from lavis.models.contrastive.text_keys import text_keys


class ContrastOnly:
    """Completes a model that has `encode`, `contrast` and `logit_scale`, its terms."""

    logit_scale: ContrastiveTerms

    def forward(self, samples: dict[str, Any]) -> dict[str, Tensor]:
        """Contrast the items of a batch, as `encode` reads it.

        Returns:
            `loss` (weighted sum) and `loss_<term>` of every term.
        """
        return whole_batch(self, samples)  # type: ignore[arg-type]  # the subclass completes it

    @property
    def contrasts(self) -> bool:
        """Whether the loss contrasts the items of a batch: always."""
        return True

    def other_losses(self, encoded: Encoded, samples: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return nothing: every loss is a contrast."""
        return {}

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum of the terms."""
        terms = self.logit_scale.terms
        return torch.stack([t.weight * losses[f"loss_{t.key}"] for t in terms]).sum()


def item_keys(
    terms: Sequence[Term], size: int, texts: Sequence[str] | None, device: torch.device
) -> dict[str, Tensor]:
    """Return the keys [B] of this rank's items in each term.

    Args:
        terms: of the model; `b` is "text" where items are contrasted with texts.
        size: B, the same on every rank.
        texts: equal ones are positives of each other; None: a pair is its only positive.
        device: of the keys.
    """
    items = torch.arange(size, device=device) + get_rank() * size
    by_text = items if texts is None else text_keys(texts).to(device)
    return {term.key: by_text if term.b == "text" else items for term in terms}
