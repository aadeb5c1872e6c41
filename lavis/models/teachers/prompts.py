"""Learned words before a text, through a frozen text teacher (CoOp, arXiv 2109.01134).

A prompt of M learned words is written as M times the same short word; while the teacher reads it,
the embeddings of these words are replaced by the learned context.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lavis.common.errors import ConfigError

PLACEHOLDER = "x"  # one token in the vocabularies of BERT, RoBERTa, CLIP and SigLIP


def with_placeholders(names: Sequence[str], count: int) -> list[str]:
    """Return the names with `count` placeholders before each."""
    return [" ".join([PLACEHOLDER] * count + [name]) for name in names]


def word_ids(tokenizer: Any, text: str) -> Tensor:
    """Return the ids of a text without special tokens: Long [M]."""
    return tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"][0]


def first_word(tokenizer: Any) -> int:
    """Return how many special tokens come before a text (BERT, CLIP: 1; SigLIP: 0)."""
    ids = tokenizer(PLACEHOLDER)["input_ids"]
    return ids.index(int(word_ids(tokenizer, PLACEHOLDER)[0]))


@contextmanager
def replaced_words(embedding: nn.Module, context: Tensor, start: int) -> Iterator[None]:
    """Let a word embedding return `context` [M,W] for tokens start … start + M - 1 of each text.

    Args:
        embedding: ids [K,T] -> [K,T,W].
        context: learned words; gradients reach them.
        start: special tokens before a text.
    """

    def replace(module: nn.Module, inputs: Any, words: Tensor) -> Tensor:
        own = context.to(words.dtype).expand(len(words), -1, -1)  # [K,M,W]
        return torch.cat([words[:, :start], own, words[:, start + len(context) :]], dim=1)

    handle = embedding.register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()


class ContextPrompt(nn.Module):
    """Words before a class name, trained through a frozen text teacher.

    Args:
        teacher: with `word_embeds` and `encode_prompts`.
        words: where the learned words start, e.g. "point cloud of a": one for each of its tokens.

    Raises:
        ConfigError: the teacher cannot read learned words, or there are none.
    """

    def __init__(self, teacher: Any, words: str) -> None:
        super().__init__()
        if not hasattr(teacher, "encode_prompts") or not words.strip():
            what = "learned prompts need a text teacher that reads them, and words to start from"
            got = f"{type(teacher).__name__}, {words!r}"
            fix = "name a sentence encoder or CLIP, and model.prompt, e.g. 'point cloud of a'"
            raise ConfigError(what, where="model.learn_prompt", got=got, fix=fix)
        self.context = nn.Parameter(teacher.word_embeds(words).clone())

    def forward(self, teacher: Any, names: Sequence[str]) -> Tensor:
        """Return unit embeddings [K,E] of "<learned words> <name>"."""
        return teacher.encode_prompts(self.context, names)
