"""The cache of a prefix that all beams of an object share, and whether a model allows that.

The beams of one object are positions of one row (`beam_search.py`): their tokens lie side by side
in the cache, and a mask names the ones that a beam descends from. That is exact where attention
depends on position ids and the mask alone. It is wrong where it depends on the order of the keys:
ALiBi (BLOOM, MPT, Falcon), local windows (GPT-Neo, Gemma 2), recurrent states (Mamba).
`shares_exactly` compares with the model itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature
from typing import Any

import torch
from torch import Tensor

_BEAMS, _STEPS, _PREFIX = 3, 3, 4
# Largest difference over the spread of the logits. On tiny random models (the families of
# tests/models/language) exact ones differ by 2.5e-6 in float32 and 0 in bfloat16; the smallest
# difference of a wrong one, a hybrid with recurrent states, is 0.027 and 0.039.
_TOLERANCE, _HALF_TOLERANCE = 1e-3, 1e-2
# Kinds of layers that attend to all keys, by the names that configurations use.
_FULL = ("full_attention", "global", "attention")
_KINDS = ("layer_types", "attention_layers", "layers_block_type", "block_types")


class SharedPrefix:
    """The cache of B prefixes, and the step of beams behind them.

    Args:
        model: a causal language model.
        embeds: prefixes [B,T,D], padded on the left.
        mask: 1 where a position counts [B,T].
        options: of the forward pass over the prefixes (`logits_to_keep`).

    Attributes:
        logits: of the first new token [B,V].
    """

    def __init__(self, model: Any, embeds: Tensor, mask: Tensor, **options: Any) -> None:
        self.model = model
        self.positions = (mask.cumsum(1) - 1).clamp(min=0)  # [B,T]
        self.mask = mask.bool()[:, None]  # [B,1,T]
        output = model(
            inputs_embeds=embeds,
            attention_mask=mask,
            position_ids=self.positions,
            use_cache=True,
            **options,
        )
        self.cache = output.past_key_values
        self.logits = output.logits[:, -1]

    def step(self, tokens: Tensor, ancestry: Tensor, index: int) -> Tensor:
        """Append a token to each beam; see `beam_search.BeamStep`.

        Returns:
            Logits of the next token [B,K,V].
        """
        seen = torch.cat([self.mask.expand(-1, tokens.shape[1], -1), ancestry], 2)
        bias = torch.zeros(seen.shape, dtype=self.model.dtype, device=seen.device)
        bias = bias.masked_fill(~seen, torch.finfo(self.model.dtype).min)
        output = self.model(
            inputs_embeds=self.model.get_input_embeddings()(tokens),
            attention_mask=bias[:, None],  # [B,1,K,T+n*K]
            position_ids=(self.positions[:, -1:] + 1 + index).expand_as(tokens),
            past_key_values=self.cache,
            use_cache=True,
        )
        return output.logits


@torch.no_grad()
def shares_exactly(model: Any) -> bool:
    """Return whether beams of a shared prefix get the logits that the model gives each alone.

    Args:
        model: of transformers, without the wrapper of adapters.
    """
    if not _attends_by_position(model):
        return False
    with _plain_attention(model):
        found = _probe(model)
    if found is None:
        return False
    shared, alone = found
    tolerance = _TOLERANCE if model.dtype == torch.float32 else _HALF_TOLERANCE
    return float((shared - alone).abs().max()) <= tolerance * (float(alone.std()) or 1.0)


def _attends_by_position(model: Any) -> bool:
    """Return whether a model takes position ids and a cache, and no layer has an order of its own.

    A short probe cannot see a window that is longer.
    """
    config, takes = model.config, signature(model.forward).parameters
    if "position_ids" not in takes or "past_key_values" not in takes:
        return False
    kinds = [kind for name in _KINDS for kind in getattr(config, name, None) or ()]
    if getattr(config, "alibi", False) or any(kind not in _FULL for kind in kinds):
        return False
    return bool(kinds) or not getattr(config, "sliding_window", None)


@contextmanager
def _plain_attention(model: Any) -> Iterator[None]:
    """Attend by matrix products and softmax: fused kernels sum differently with and without a mask.

    In the built-in model, bfloat16 on a CPU that emulates it, that alone moves a logit by 0.13 of
    their spread.
    """
    fused = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(fused)


def _probe(model: Any) -> tuple[Tensor, Tensor] | None:
    """Return logits of beams by the shared cache and of each text alone, [K,V] float32 each.

    None where the model keeps other states than keys and values of all positions.
    """
    from transformers.cache_utils import DynamicLayer  # import lavis does without transformers

    embed, device = model.get_input_embeddings(), model.device
    size = embed.weight.shape[0]
    prefix = torch.arange(_PREFIX, device=device) % size
    texts = (torch.arange(_BEAMS * _STEPS, device=device) * 7 + 3).view(_BEAMS, _STEPS) % size
    ones = torch.ones(1, _PREFIX, dtype=torch.long, device=device)
    shared = SharedPrefix(model, embed(prefix)[None], ones)
    if any(type(layer) is not DynamicLayer for layer in getattr(shared.cache, "layers", [None])):
        return None
    own = torch.eye(_BEAMS, dtype=torch.bool, device=device)[None]
    for index in range(_STEPS):
        logits = shared.step(texts[None, :, index], own.repeat(1, 1, index + 1), index)
    whole = torch.cat([prefix.expand(_BEAMS, -1), texts], 1)
    mask = torch.ones_like(whole)
    alone = model(inputs_embeds=embed(whole), attention_mask=mask, use_cache=False).logits[:, -1]
    return logits[0].float(), alone.float()
