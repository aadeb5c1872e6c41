"""Start a Q-Former from a BERT checkpoint, and report what was taken.

From a BERT (MiniLM, bert-base-uncased, any folder with config.json and weights) text embeddings,
shared self-attention and text feed-forward are copied; each query feed-forward starts as a copy of
the text one, as in BLIP-2; cross-attention and, where the checkpoint has no LM head, the head start
fresh. BLIP-2's own checkpoints are read by `lavis/models/weights/released.py`.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from torch import Tensor

from lavis.common.checkpoint import load_checkpoint_file
from lavis.common.errors import CheckpointError
from lavis.common.text_files import read_json
from lavis.models.qformer.layers import QFormerConfig
from lavis.models.qformer.qformer import QFormer
from lavis.models.weights.builtin import reading_pretrained, resolve_pretrained
from lavis.models.weights.pretrained import load_model, load_part

BERT_KEY = "model.qformer_bert"
_BERT_DROPOUT_KEYS = ("hidden_dropout_prob", "attention_probs_dropout_prob")
_BERT_SIZE_KEYS = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "layer_norm_eps",
    "initializer_range",
    *_BERT_DROPOUT_KEYS,
)


def load_text_tokenizer(bert: str) -> Any:
    """Load a BERT tokenizer and add BLIP-2's decoding start token [DEC]."""
    from transformers import AutoTokenizer

    tokenizer = load_part(AutoTokenizer, bert, BERT_KEY, truncation_side="right")
    tokenizer.add_special_tokens({"bos_token": "[DEC]"})
    return tokenizer


def qformer_config_from_bert(
    bert: str, vocab_size: int, dropout: float | None = None, **overrides: Any
) -> QFormerConfig:
    """Take the sizes of a BERT folder (or hub name), and its dropout unless one is given.

    `overrides` set the Q-Former's own sizes.
    """
    folder = Path(resolve_pretrained(bert))
    if (folder / "config.json").is_file():
        with reading_pretrained(BERT_KEY, bert):
            sizes = dict(read_json(folder / "config.json"))
    else:
        from transformers import AutoConfig

        sizes = load_part(AutoConfig, bert, BERT_KEY).to_dict()
    taken = {key: sizes[key] for key in _BERT_SIZE_KEYS if key in sizes}
    if dropout is not None:
        taken |= dict.fromkeys(_BERT_DROPOUT_KEYS, dropout)
    return QFormerConfig(vocab_size=vocab_size, **(taken | overrides))


def init_from_bert(qformer: QFormer, bert: str) -> list[str]:
    """Copy a BERT checkpoint into the Q-Former.

    Returns:
        Names of the parameters that start fresh.

    Raises:
        CheckpointError: when a tensor's shape differs or the text tower is not covered.
    """
    source = {name.removeprefix("bert."): t for name, t in _read_bert(bert).items()}
    own = qformer.state_dict()
    loaded: dict[str, Tensor] = {}
    for name, target in own.items():
        found = source.get(_bert_name(name))
        if found is not None:
            loaded[name] = _fit(name, found, target)
    fresh = [name for name in own if name not in loaded]
    uncovered = [n for n in fresh if ".attention." in n or "intermediate" in n]
    if uncovered:
        raise CheckpointError(
            "the BERT checkpoint lacks parts of the text tower",
            where=f"model.qformer_bert: {bert}",
            got=f"{len(uncovered)} parameters missing, e.g. {uncovered[:3]}",
            expected="a BertModel or BertForMaskedLM checkpoint",
            fix="name another checkpoint",
        )
    qformer.load_state_dict(loaded, strict=False)
    logging.info("Q-Former from %s: %d tensors taken, %d fresh", bert, len(loaded), len(fresh))
    return fresh


def _bert_name(name: str) -> str:
    """Map a Q-Former parameter to the BERT parameter that it starts from."""
    name = name.removeprefix("bert.")
    return name.replace("intermediate_query.", "intermediate.").replace("output_query.", "output.")


def _read_bert(bert: str) -> dict[str, Tensor]:
    """Read a BERT state dict from a folder, or through transformers for a hub name."""
    folder = Path(resolve_pretrained(bert))
    for filename in ("model.safetensors", "pytorch_model.bin"):
        if (folder / filename).is_file():
            payload = load_checkpoint_file(folder / filename, key=BERT_KEY)
            return payload.get("model", payload)
    from transformers import AutoModel

    return load_model(AutoModel, bert, BERT_KEY, unused=("pooler.",)).state_dict()


def _fit(name: str, found: Tensor, target: Tensor) -> Tensor:
    """Check the shape; a vocabulary may be longer in the Q-Former by the added tokens."""
    vocabulary = name.endswith(("word_embeddings.weight", "predictions.bias"))
    if vocabulary and found.shape[0] <= target.shape[0] and found.shape[1:] == target.shape[1:]:
        grown = target.clone()
        grown[: found.shape[0]] = found
        return grown
    if found.shape != target.shape:
        raise CheckpointError(
            "a tensor of the checkpoint does not fit the Q-Former",
            where=name,
            got=tuple(found.shape),
            expected=tuple(target.shape),
            fix="use a checkpoint of the same sizes, or change the yaml's sizes",
        )
    return found
