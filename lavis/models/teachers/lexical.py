"""Word overlap as a frozen text teacher: hashed tf-idf vectors of words and word sequences.

Sentence encoders hardly tell "2 x 3" from "2 x 4"; words do. Beside a sentence encoder this is
hybrid retrieval, dense and lexical. Feature hashing (Weinberger et al., arXiv 0902.2206) needs no
vocabulary, so that the rarity of each bucket is all that a checkpoint has to keep.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lavis.common.errors import ConfigError
from lavis.models.teachers.teacher import Teacher

BUCKETS = 16_384
LONGEST = 3  # words of a sequence, as in "2 x 4"
_WORD = r"\S+"  # a number counts, whatever its length


class LexicalTeacher(Teacher):
    """Unit tf-idf vectors over hashed sequences of one to three words.

    Cosines with it are the weighted share of common words. A sequence that fewer than two training
    texts contain counts for nothing: no other object has it.

    Attributes:
        rarity: inverse document frequency of each bucket [V], from `fit`; zero where unknown.
    """

    modality = "text"
    embed_dim = BUCKETS
    space = f"words@{LONGEST}"
    rarity: Tensor

    def __init__(self) -> None:
        super().__init__()
        from sklearn.feature_extraction.text import HashingVectorizer

        self.vectorizer = HashingVectorizer(
            n_features=BUCKETS,
            ngram_range=(1, LONGEST),
            token_pattern=_WORD,
            binary=True,
            norm=None,
            alternate_sign=False,
            dtype=np.float32,
        )
        self.register_buffer("rarity", torch.zeros(BUCKETS))

    def fit(self, texts: Sequence[str]) -> None:
        """Count in how many training texts each bucket occurs.

        Raises:
            ConfigError: no two texts share a word.
        """
        count = torch.from_numpy(np.asarray(self.vectorizer.transform(texts).sum(0)).ravel())
        rarity = 1 + torch.log((1 + len(texts)) / (1 + count))
        self.rarity.copy_(torch.where(count >= 2, rarity, torch.zeros(())))
        if not self.rarity.any():
            what = "no two training texts share a word"
            raise ConfigError(what, where="model.lexical_source", got=f"{len(texts)} texts")

    def encode(self, inputs: Sequence[str]) -> Tensor:
        """Embed texts: unit [B,V]; zero for a text without a known word."""
        found = torch.from_numpy(self.vectorizer.transform(inputs).toarray())
        return F.normalize(found.to(self.rarity.device) * self.rarity, dim=-1)

    def encode_sparse(self, inputs: Sequence[str]) -> Tensor:
        """Embed many texts: sparse [B,V], equal to `encode`, a dozen values a row."""
        found = self.vectorizer.transform(inputs).tocoo()
        values = torch.from_numpy(found.data) * self.rarity.cpu()[found.col]
        length = torch.zeros(found.shape[0]).index_add_(0, torch.from_numpy(found.row), values**2)
        values = values / length.sqrt().clamp_min(1e-12)[found.row]
        places = torch.from_numpy(np.stack([found.row, found.col])).long()
        rows = torch.sparse_coo_tensor(
            places, values, found.shape, check_invariants=False
        ).coalesce()
        return rows.to(self.rarity.device)
