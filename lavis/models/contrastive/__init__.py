"""Contrastive learning that every system shares: InfoNCE, terms with scales, GradCache."""

from lavis.models.contrastive.gather import gather, gather_with_grad
from lavis.models.contrastive.info_nce import (
    Temperature,
    autocast_cosine,
    cosine,
    full_precision,
    info_nce,
    max_over_queries,
    pair_logits,
    symmetric_cross_entropy,
)
from lavis.models.contrastive.targets import (
    contrast_targets,
    log_text_counts,
    pair_keys,
    share_key,
)
from lavis.models.contrastive.terms import ContrastiveTerms, Term

__all__ = [
    "ContrastiveTerms",
    "Temperature",
    "Term",
    "autocast_cosine",
    "contrast_targets",
    "cosine",
    "full_precision",
    "gather",
    "gather_with_grad",
    "info_nce",
    "log_text_counts",
    "max_over_queries",
    "pair_keys",
    "pair_logits",
    "share_key",
    "symmetric_cross_entropy",
]
