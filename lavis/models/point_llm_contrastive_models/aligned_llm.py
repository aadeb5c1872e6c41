"""The frozen language model of the study: how targets end, and where a hub token comes from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from lavis.common.errors import CheckpointError, ConfigError
from lavis.common.text_files import read_text
from lavis.common.utils import get_abs_path
from lavis.models.contrastive import full_precision
from lavis.models.language.llm import LanguageModel

TOKEN_FILE = ".hf_token"
BOUNDARY_TOKENS = ("<p_start>", "<p_end>")


class AlignedLanguageModel(LanguageModel):
    """A language model whose word embeddings are targets, never trained through a text.

    Args:
        name: built-in name, folder, or hub name.
        dtype: of the frozen weights.
        end_in_target: score the end token after a target; the release does not, so its models
            never learn to stop.
        attention: `sdpa` or `eager`; None is transformers' choice.
    """

    def __init__(
        self,
        name: str,
        dtype: torch.dtype,
        end_in_target: bool = False,
        attention: str | None = None,
    ) -> None:
        super().__init__(name, None, dtype, attention=attention)
        self.end_in_target = end_in_target

    def embed(self, ids: Tensor) -> Tensor:
        """Look up input embeddings [B,T] -> [B,T,D] without gradient, as published."""
        return super().embed(ids).detach()

    def tokenize(self, texts: Sequence[str], add_end: bool = False) -> tuple[Tensor, Tensor]:
        """Turn texts into ids and mask [B,T]; the end token only where `end_in_target`."""
        return super().tokenize(texts, add_end and self.end_in_target)

    def text_tokens(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Embed texts word by word: float32 (float64 of a double model) [B,T,D] and mask [B,T]."""
        ids, mask = self.tokenize(texts)
        return full_precision(self.embed(ids)), mask

    def add_boundary_tokens(self) -> list[int]:
        """Add `<p_start>` and `<p_end>` to vocabulary and embeddings, as copies of the end token.

        Returns:
            Their ids.
        """
        self.tokenizer.add_special_tokens({"additional_special_tokens": list(BOUNDARY_TOKENS)})
        if len(self.tokenizer) > len(self.embedding_table()):
            self.model.resize_token_embeddings(len(self.tokenizer), mean_resizing=False)
            self.own_names = self._untied_head()
        ids = self.tokenizer.convert_tokens_to_ids(list(BOUNDARY_TOKENS))
        self.embedding_table()[ids] = self.end_embedding().to(self.model.dtype)
        return ids

    def _untied_head(self) -> tuple[str, ...]:
        """Return the name of the output layer, whose added rows are random, where it is untied."""
        head = self.model.get_output_embeddings()
        tied = head is None or head.weight is self.model.get_input_embeddings().weight
        named = self.named_parameters(remove_duplicate=False)
        return () if tied else tuple(name for name, value in named if value is head.weight)

    def end_embedding(self) -> Tensor:
        """Return the end token's embedding [D]."""
        return self.embedding_table()[self.tokenizer.eos_token_id].clone()


def load_aligned_llm(
    name: str, dtype: torch.dtype, end_in_target: bool, attention: str | None = None
) -> AlignedLanguageModel:
    """Load a language model, gated ones with the token of HF_TOKEN or of the file `.hf_token`.

    Raises:
        CheckpointError: no such model, or it is gated and no valid token was found.
        ConfigError: it has no input embeddings.
    """
    use_token_file()
    try:
        return AlignedLanguageModel(name, dtype, end_in_target, attention)
    except CheckpointError as error:
        if not is_gated(error):
            raise
        raise CheckpointError(
            "a gated language model needs an access token",
            where="model.llm",
            got=f"{name}, and " + ("a token" if os.environ.get("HF_TOKEN") else "no token"),
            expected=f"a token with access in HF_TOKEN or in the file {TOKEN_FILE}",
            fix=f"accept the licence at https://huggingface.co/{name}, then set HF_TOKEN",
        ) from None  # what the hub answered may quote the request
    except NotImplementedError as error:  # of transformers' get_input_embeddings
        raise ConfigError(
            "the language model has no input embeddings to align with",
            where="model.llm",
            got=name,
            expected="a causal or encoder-decoder model of transformers",
        ) from error


def use_token_file() -> None:
    """Let transformers see the token of `.hf_token` at the root, unless HF_TOKEN is set."""
    path = Path(get_abs_path(TOKEN_FILE))
    if not os.environ.get("HF_TOKEN") and path.is_file():
        os.environ["HF_TOKEN"] = read_text(path).strip()


def is_gated(error: BaseException) -> bool:
    """Return whether loading failed because the hub requires an accepted licence or a token."""
    causes: list[str] = []
    current: BaseException | None = error
    while current is not None:
        causes.append(f"{type(current).__name__} {current}".lower())
        current = current.__cause__ or current.__context__
    return any("gated" in cause or "401 client error" in cause for cause in causes)
