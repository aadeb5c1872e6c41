"""Prefixes that attention reads through gates: + tanh(g) softmax(Q Kp^T / sqrt(d)) Vp.

LLaMA-Adapter (arXiv 2303.16199), ImageBind-LLM (arXiv 2309.03905) and Point-LLM (arXiv 2309.00615)
give every attention layer of a frozen language model a prefix that its own key and value
projections read. Gates start at zero, so the language model is unchanged at first, to the bit.

`attach` registers the attention with transformers under the name `gated_prefix`; it is sdpa where
no prefix is active, and `active(memory)` makes one active for the calls inside.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

from lavis.common.errors import ConfigError

NAME = "gated_prefix"
_ACTIVE: ContextVar[PrefixMemory | None] = ContextVar("active_prefix", default=None)


class PrefixMemory:
    """What every layer reads of one batch's prefixes.

    Args:
        prefix: [B,L,P,D], of each of the L layers.
        gates: [L,H], before tanh.
    """

    def __init__(self, prefix: Tensor, gates: Tensor) -> None:
        self.prefix, self.gates = prefix, gates
        self._known: dict[int, Tensor] = {}

    def read(self, attention: Any, query: Tensor) -> Tensor:
        """Return what a layer adds to its output, broadcastable to [B',T,H,d].

        Args:
            attention: the layer's module, with `k_proj`, `v_proj` and `layer_idx`.
            query: [B',H,T,d], B' a multiple of B (beams of an item lie side by side).
        """
        gate = self.gates[attention.layer_idx].tanh().to(query.dtype)  # [H]
        if self.prefix.shape[2] == 1:  # softmax of one key is 1
            return self._only_value(attention, gate, len(query))
        keys, values = self._heads(attention, "k_proj"), self._heads(attention, "v_proj")
        repeats = len(query) // len(keys)
        keys, values = keys.repeat_interleave(repeats, 0), values.repeat_interleave(repeats, 0)
        scores = query @ keys.transpose(2, 3) * attention.scaling  # [B',H,T,P]
        weights = gate[:, None, None] * scores.float().softmax(-1).to(query.dtype)
        return (weights @ values).transpose(1, 2)  # [B',T,H,d]

    def _only_value(self, attention: Any, gate: Tensor, size: int) -> Tensor:
        """Return the gated value [B',1,H,d]; decoding reads it at every token."""
        known = self._known.get(attention.layer_idx)
        if known is None or len(known) != size:
            values = self._heads(attention, "v_proj").transpose(1, 2)  # [B,1,H,d]
            known = (gate[:, None] * values).repeat_interleave(size // len(values), 0)
            if not torch.is_grad_enabled():
                self._known[attention.layer_idx] = known
        return known

    def _heads(self, attention: Any, name: str) -> Tensor:
        """Project the layer's prefix with its frozen weights: [B,H,P,d]."""
        projection = getattr(attention, name)
        # Adapters of the projection do not read prefixes, as published.
        projection = getattr(projection, "base_layer", projection)
        prefix = self.prefix[:, attention.layer_idx].to(projection.weight.dtype)  # [B,P,D]
        heads = projection(prefix).unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
        norm = getattr(attention, "k_norm", None) if name == "k_proj" else None
        heads = heads if norm is None else norm(heads)
        return heads.repeat_interleave(attention.num_key_value_groups, 1)  # [B,H,P,d]


@contextmanager
def active(memory: PrefixMemory | None) -> Iterator[None]:
    """Let the models that run inside read a memory."""
    token = _ACTIVE.set(memory)
    try:
        yield
    finally:
        _ACTIVE.reset(token)


def gated_prefix_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attend as sdpa does, and add what the active prefix gives.

    Args:
        module: of the layer.
        query: [B,H,T,d].
        key, value: [B,H_kv,S,d].
        attention_mask: of transformers.
        options: of transformers' sdpa.

    Returns:
        [B,T,H,d] and no weights.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    memory = _ACTIVE.get()
    return (output if memory is None else output + memory.read(module, query)), None


def attach(model: Any, key: str) -> int:
    """Let a language model attend with gated prefixes; returns its number L of layers.

    Args:
        model: of transformers, with weights.
        key: the yaml key that named it, for messages.

    Raises:
        ConfigError: its layers lack the projections that read a prefix (Llama, Mistral, Qwen and
            SmolLM have them).
    """
    # Imported here: transformers is 190 MiB, and `import lavis` loads this module.
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    layers = [layer for layer in model.modules() if _reads_prefixes(layer)]
    if not layers or len(layers) != model.config.num_hidden_layers:
        got = f"{model.config.model_type}: {len(layers)} of {model.config.num_hidden_layers} layers"
        what = "the language model cannot read gated prefixes"
        expected = "a model of the Llama family, whose attention has k_proj and v_proj"
        raise ConfigError(what, where=key, got=got, expected=expected)
    AttentionInterface.register(NAME, gated_prefix_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)
    return len(layers)


def _reads_prefixes(layer: nn.Module) -> bool:
    names = ("k_proj", "v_proj", "layer_idx", "head_dim", "num_key_value_groups", "scaling")
    return all(hasattr(layer, name) for name in names)
