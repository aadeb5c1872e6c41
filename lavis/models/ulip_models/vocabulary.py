"""The distinct texts of a training split, for losses that compare with all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from lavis.common.errors import ConfigError


class Vocabulary:
    """Distinct texts in alphabetical order.

    Args:
        key: yaml key that asked for them, for messages.
        texts: of the training split; duplicates count once.
    """

    def __init__(self, key: str, texts: Iterable[str] = ()) -> None:
        self.key, self.texts = key, sorted(set(texts))
        self._row_of = {text: row for row, text in enumerate(self.texts)}

    def rows(self, texts: Sequence[str]) -> Tensor:
        """Return the rows of texts in the vocabulary: int64 [B].

        Raises:
            ConfigError: the training split was not read, or lacks a text.
        """
        unknown = [text for text in texts if text not in self._row_of]
        if unknown:
            raise ConfigError(
                "a text is not in the vocabulary",
                where=self.key,
                got=unknown[0],
                expected=f"one of the {len(self.texts)} texts of the training split",
            )
        return torch.tensor([self._row_of[text] for text in texts])
