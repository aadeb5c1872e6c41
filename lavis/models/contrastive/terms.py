"""Contrastive terms between named embeddings, each with its own scale.

MixCon3D is four terms, Point-Bind three, ULIP-style pre-training one per text source.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from lavis.common.errors import ConfigError
from lavis.models.contrastive.gather import gather, gather_with_grad
from lavis.models.contrastive.info_nce import Similarity, cosine, info_nce
from lavis.models.contrastive.targets import contrast_targets, log_text_counts


@dataclass(frozen=True)
class Term:
    """One pair of embeddings that are contrasted.

    Attributes:
        a, b: names of the embeddings.
        weight: in the sum of the losses.
        learn_scale: train the logarithm of the scale.
        init_scale: what cosines are multiplied by at first (CLIP: 1 / 0.07).
        max_scale: the largest scale (CLIP: 100).
        name: of its parameter and loss; None: `<a>_<b>`.
    """

    a: str
    b: str
    weight: float = 1.0
    learn_scale: bool = True
    init_scale: float = 1 / 0.07
    max_scale: float = 100.0
    name: str | None = None

    @property
    def key(self) -> str:
        """The name of the parameter and of the loss."""
        return self.name or f"{self.a}_{self.b}"


class ContrastiveTerms(nn.Module):
    """InfoNCE of each term over all ranks.

    The logarithm of each scale is the parameter `<key>` of this module.

    Args:
        terms: with different keys.
        similarity: of all terms; `max_over_queries` for embeddings [B,Q,E].
        smoothing: of the targets.

    Raises:
        ConfigError: no term, or one key twice.
    """

    def __init__(
        self, terms: Sequence[Term], similarity: Similarity = cosine, smoothing: float = 0.0
    ) -> None:
        super().__init__()
        keys = [term.key for term in terms]
        if not keys or len(set(keys)) < len(keys):
            message = "contrastive terms need different names"
            raise ConfigError(message, where="contrastive terms", got=keys)
        self.terms, self.similarity, self.smoothing = tuple(terms), similarity, smoothing
        for term in terms:
            start = torch.tensor(math.log(term.init_scale))
            self.register_parameter(term.key, nn.Parameter(start, requires_grad=term.learn_scale))

    def scale(self, term: Term) -> Tensor:
        """Return what the cosines of a term are multiplied by."""
        log_scale = cast(Tensor, getattr(self, term.key))
        return log_scale.clamp(max=math.log(term.max_scale)).exp()

    def forward(
        self,
        embeds: Mapping[str, Tensor],
        keys: Mapping[str, Tensor] | Tensor,
        valid: Mapping[str, Tensor] | None = None,
        rows: int | None = None,
    ) -> dict[str, Tensor]:
        """Compute every term.

        Args:
            embeds: unit [B,E] (or [B,Q,E]) by name, of this rank's batch.
            keys: integer keys [B] of the items, or of each term's items by its key; items with an
                equal key are positives of each other.
            valid: [B] by name, True where an item has the modality; absent names: all have it.
            rows: see `info_nce`.

        Returns:
            {"loss_<key>": scalar, ..., "loss": their weighted sum}.
        """
        output = {
            f"loss_{term.key}": self.one(term, embeds, keys, valid or {}, rows)
            for term in self.terms
        }
        total = [term.weight * output[f"loss_{term.key}"] for term in self.terms]
        return output | {"loss": torch.stack(total).sum()}

    def one(
        self,
        term: Term,
        embeds: Mapping[str, Tensor],
        keys: Mapping[str, Tensor] | Tensor,
        valid: Mapping[str, Tensor],
        rows: int | None = None,
    ) -> Tensor:
        """Compute one term; see `forward`."""
        a, b = embeds[term.a], embeds[term.b]
        own = keys if isinstance(keys, Tensor) else keys[term.key]
        everyone = gather(own)
        masks = [valid[name] for name in (term.a, term.b) if name in valid]
        both = torch.stack(masks).all(0) if masks else None
        valid_pairs = None if both is None else (both, gather(both))
        return info_nce(
            a,
            b,
            scale=self.scale(term),
            targets=lambda part: contrast_targets(own[part], everyone, self.smoothing),
            all_a=gather_with_grad(a),
            all_b=gather_with_grad(b),
            valid=valid_pairs,
            similarity=self.similarity,
            log_counts=log_text_counts(everyone, valid_pairs and valid_pairs[1]),
            rows=rows,
        )
