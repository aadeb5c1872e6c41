"""Sentence embeddings as a text teacher: MiniLM built in, SBERT and SimCSE by path.

    SentenceTeacher("minilm")
    SentenceTeacher("/models/all-mpnet-base-v2")                  # SBERT
    SentenceTeacher("/models/sup-simcse-roberta-large@pooler")    # SimCSE

How token states become one vector is read from a sentence-transformers folder
(1_Pooling/config.json) or given behind "@": `mean`, `cls`, or `pooler` (the model's own pooling
layer, as PointLLM's script uses SimCSE). Without either it is the mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lavis.common.errors import ConfigError, nearest
from lavis.common.files import file_sha256
from lavis.common.text_files import read_json
from lavis.models.teachers.prompts import (
    first_word,
    replaced_words,
    with_placeholders,
    word_ids,
)
from lavis.models.teachers.teacher import Teacher
from lavis.models.weights.builtin import reading_pretrained, resolve_pretrained
from lavis.models.weights.pretrained import load_model, load_part

POOLINGS = ("mean", "cls", "pooler")
MAX_TOKENS = 256
CACHE_SIZE = 65_536  # texts; 100 MB at MiniLM's width


class SentenceTeacher(Teacher):
    """A frozen BERT-like model whose pooled token states embed a text.

    Args:
        name: `minilm`, a folder or a hub name, with "@pooling" behind it where it cannot be read.
        cache_size: texts whose embeddings are kept.
        key: the yaml key that named it, for messages.

    Raises:
        ConfigError: unknown pooling.
        CheckpointError: the model cannot be loaded.
    """

    modality = "text"

    def __init__(
        self, name: str, cache_size: int = CACHE_SIZE, key: str = "model.text_tower"
    ) -> None:
        super().__init__(cache_size)
        from transformers import AutoModel, AutoTokenizer

        path, _, pooling = name.partition("@")
        folder = resolve_pretrained(path)
        self.pooling = pooling or _configured_pooling(Path(folder))
        if self.pooling not in POOLINGS:
            hint = nearest(self.pooling, POOLINGS)
            what = f"unknown pooling of a sentence encoder.{hint}"
            raise ConfigError(what, where=name, got=self.pooling, expected=list(POOLINGS))
        unused = () if self.pooling == "pooler" else ("pooler.",)
        self.tokenizer: Any = load_part(AutoTokenizer, path, key)
        self.bert: Any = load_model(AutoModel, path, key, unused).requires_grad_(False)
        self.embed_dim, self.space = self.bert.config.hidden_size, _space(path, self.pooling)
        self.eval()

    def encode(self, inputs: Sequence[str]) -> Tensor:
        """Embed texts in one batch: unit float32 [B,E]."""
        tokens = self._tokens(inputs)
        output = self.bert(**tokens)
        if self.pooling == "pooler":
            embeds = output.pooler_output
        elif self.pooling == "cls":
            embeds = output.last_hidden_state[:, 0]
        else:
            mask = tokens.attention_mask[..., None]
            embeds = (output.last_hidden_state * mask).sum(1) / mask.sum(1)
        return F.normalize(embeds, dim=-1)

    def _tokens(self, texts: Sequence[str]) -> Any:
        """Return the ids and the mask of texts, padded."""
        longest = min(MAX_TOKENS, self.tokenizer.model_max_length)
        options = {"padding": True, "truncation": True, "max_length": longest}
        return self.tokenizer(list(texts), return_tensors="pt", **options).to(self.bert.device)

    @torch.no_grad()
    def word_states(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return the states of the tokens [B,T,W], and bool [B,T], which are real."""
        tokens = self._tokens(texts)
        return self.bert(**tokens).last_hidden_state, tokens.attention_mask.bool()

    @torch.no_grad()
    def word_embeds(self, text: str) -> Tensor:
        """Return what the model reads for the tokens of a text: [M,W]."""
        ids = word_ids(self.tokenizer, text).to(self.bert.device)
        return self.bert.get_input_embeddings()(ids)

    def encode_prompts(self, context: Tensor, names: Sequence[str]) -> Tensor:
        """Embed names behind learned words [M,W]: unit [K,E]; gradients reach the words."""
        words = self.bert.get_input_embeddings()
        with replaced_words(words, context, first_word(self.tokenizer)):
            return self.encode(with_placeholders(names, len(context)))


def _space(name: str, pooling: str) -> str:
    """Return the name of a space: of a folder its own name and weights, wherever it lies."""
    files = sorted(Path(name).glob("*.safetensors")) if Path(name).is_dir() else []
    digest = "".join(f":{file_sha256(file)[:12]}" for file in files)
    return f"{Path(name).name if files else name}{digest}@{pooling}"


def _configured_pooling(folder: Path) -> str:
    """Return the pooling of a sentence-transformers folder; the mean elsewhere."""
    path = folder / "1_Pooling" / "config.json"
    if not path.is_file():
        return "mean"
    with reading_pretrained("1_Pooling", str(folder)):
        config = dict(read_json(path))
    return "cls" if config.get("pooling_mode_cls_token") else "mean"
