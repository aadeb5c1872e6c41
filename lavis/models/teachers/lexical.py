"""Word overlap as a frozen text teacher: hashed tf-idf vectors of words and word sequences.

The cosine of "plate 2 x 3" and "plate 2 x 4" is 0.95 with MiniLM and 0.64 with the words of bricks.
Beside a sentence encoder this is hybrid retrieval, dense and lexical. Feature hashing (Weinberger
et al., arXiv 0902.2206) needs no vocabulary: a checkpoint keeps one number per bucket.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lavis.common.errors import ConfigError
from lavis.models.teachers.teacher import Teacher

BUCKETS = 16_384
LONGEST = 3  # words of a sequence, as in "2 x 4"
_WORD = r"\S+"  # a number counts, whatever its length


class LexicalTeacher(Teacher):
    """Unit tf-idf vectors over hashed sequences of one to three words.

    A cosine is the share of common sequences, weighted by their rarity. A bucket that occurs in
    fewer than two training texts has weight 0.

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
        return self.encode_sparse(inputs).to_dense()

    def encode_sparse(self, inputs: Sequence[str]) -> Tensor:
        """Embed many texts: sparse [B,V], equal to `encode`, about twenty values per row."""
        found = self.vectorizer.transform(inputs).tocoo()
        values = torch.from_numpy(found.data) * self.rarity.cpu()[found.col]
        length = torch.zeros(found.shape[0]).index_add_(0, torch.from_numpy(found.row), values**2)
        values = values / length.sqrt().clamp_min(1e-12)[found.row]
        places = torch.from_numpy(np.stack([found.row, found.col])).long()
        rows = torch.sparse_coo_tensor(
            places, values, found.shape, check_invariants=False
        ).coalesce()
        return rows.to(self.rarity.device)
