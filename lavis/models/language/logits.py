"""Logits at chosen positions: by the vocabulary projection alone where that is all there is.

Captions are short and vocabularies large, so a loss computes logits before target tokens only. Most
models apply their output embeddings to the last hidden state, and nothing else. Some cap the logits
(Gemma 2) or scale them (Granite, Cohere): there the model's own forward pass makes them.
"""

from __future__ import annotations

from inspect import signature
from typing import Any

import torch
from torch import Tensor

_PROBE = 4


@torch.no_grad()
def head_is_all(model: Any) -> bool:
    """Return whether output embeddings of the last hidden state are the logits, to the last bit.

    Compares both on a few tokens. Uses no random numbers, so random states stay as they are.
    """
    table, device = model.get_input_embeddings(), model.device
    ids = torch.arange(_PROBE, device=device)[None] % table.weight.shape[0]
    mask = torch.ones_like(ids)
    own = model(inputs_embeds=table(ids), attention_mask=mask, use_cache=False).logits
    body = model.base_model(inputs_embeds=table(ids), attention_mask=mask, use_cache=False)
    head, states = model.get_output_embeddings(), getattr(body, "last_hidden_state", None)
    return head is not None and states is not None and torch.equal(head(states), own)


def keeps_logits(model: Any) -> bool:
    """Return whether the model computes logits of chosen positions (`logits_to_keep`)."""
    return "logits_to_keep" in signature(model.forward).parameters


def logits_at(model: Any, embeds: Tensor, mask: Tensor, chosen: Tensor, plain: bool) -> Tensor:
    """Return the model's logits at chosen positions [M,V].

    Args:
        model: a causal language model, without adapters' wrapper.
        embeds, mask: input [B,T,D] and [B,T].
        chosen: boolean [B,T], M of it true.
        plain: of `head_is_all`.
    """
    if plain:
        body = model.base_model(inputs_embeds=embeds, attention_mask=mask, use_cache=False)
        return model.get_output_embeddings()(body.last_hidden_state[chosen])
    options: dict[str, Any] = {}
    if keeps_logits(model):  # the columns that any row needs
        columns = chosen.any(0).nonzero()[:, 0]
        options, chosen = {"logits_to_keep": columns}, chosen[:, columns]
    output = model(inputs_embeds=embeds, attention_mask=mask, use_cache=False, **options)
    return output.logits[chosen]
