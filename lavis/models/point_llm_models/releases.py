"""Read the files that Point-LLM and ImageBind-LLM release (`7B.pth`) under our names.

A release holds the trained parts of LLaMA-Adapter under Meta's names for LLaMA. transformers orders
the rotated dimensions of queries and keys differently, so rows that end in them are moved.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from lavis.common.errors import CheckpointError

_ATTENTION = {"wq": "q_proj", "wk": "k_proj", "wv": "v_proj", "wo": "o_proj"}
_MLP = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}
_NORMS = {"attention_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
_OUTSIDE = {
    "llama.tok_embeddings.weight": "model.embed_tokens.weight",
    "llama.norm.weight": "model.norm.weight",
    "llama.output.weight": "lm_head.weight",
}
_BRIDGE = re.compile(r"^image_bind_(norm|f1|f2|f3)_(\d)\.(\w+)$")
_LAYER = re.compile(r"^llama\.layers\.(\d+)\.(\w+)(?:\.(\w+))?\.(\w+)$")
_LORA = re.compile(r"^lora_(w[qkvo123])_l([12])$")


def released_state(state: Mapping[str, Tensor], heads: int, adapted: bool) -> dict[str, Tensor]:
    """Rename a release's parameters to those of our `PointLLM`; others are left out.

    Args:
        state: names of the release, e.g. `llama.layers.0.attention.lora_wq_l1.weight`.
        heads: H of the language model.
        adapted: whether our language model has adapters (phase `finetune`).

    Raises:
        CheckpointError: no parameter of a release.
    """
    ours: dict[str, Tensor] = {}
    gates: dict[int, Tensor] = {}
    for name, tensor in state.items():
        if name.endswith("attention.gate"):
            gates[int(name.split(".")[2])] = tensor.reshape(-1)  # [1,H,1,1]
            continue
        found = _outside(name, adapted) or _in_layer(name, adapted)
        if found is not None:
            ours[found] = _rotated(tensor, heads) if _ends_rotated(name) else tensor
    if gates:
        ours["language_model.gates"] = torch.stack([gates[layer] for layer in sorted(gates)])
    if not ours:
        what, got = "no parameter of a Point-LLM release", sorted(state)[:3]
        raise CheckpointError(what, where="model.released", got=got)
    if adapted:
        return ours
    return {name: tensor for name, tensor in ours.items() if ".lora_" not in name}


def _outside(name: str, adapted: bool) -> str | None:
    """Return our name of a parameter outside the layers of LLaMA."""
    if name == "prefix_query.weight":
        return "language_model.prefix.weight"
    if name.startswith("image_bind_proj."):
        return "bind_network.proj." + name.rpartition(".")[2]
    bridge = _BRIDGE.match(name)
    if bridge:
        part, block, kind = bridge.groups()
        return f"bind_network.blocks.{int(block) - 1}.{part.replace('f', 'w')}.{kind}"
    return _start(adapted) + _OUTSIDE[name] if name in _OUTSIDE else None


def _in_layer(name: str, adapted: bool) -> str | None:
    """Return our name of a parameter in a layer of LLaMA."""
    layer = _LAYER.match(name)
    if layer is None:
        return None
    number, room, part, kind = layer.groups()
    start = f"{_start(adapted)}model.layers.{number}."
    if part is None:
        return f"{start}{_NORMS[room]}.{kind}" if room in _NORMS else None
    lora = _LORA.match(part)
    place = _place(lora.group(1) if lora else part)
    if place is None:
        return None
    if lora:
        return f"{start}{place}.lora_{'AB'[int(lora.group(2)) - 1]}.default.{kind}"
    if kind == "bias":  # the release adds it beside the adapter, peft within
        return f"{start}{place}.lora_B.default.bias"
    return f"{start}{place}{'.base_layer' if adapted else ''}.{kind}"


def _start(adapted: bool) -> str:
    return "language_model.model." + ("base_model.model." if adapted else "")


def _place(part: str) -> str | None:
    if part in _ATTENTION:
        return f"self_attn.{_ATTENTION[part]}"
    return f"mlp.{_MLP[part]}" if part in _MLP else None


def _ends_rotated(name: str) -> bool:
    """Return whether the rows of a tensor are dimensions of queries or keys."""
    return bool(re.search(r"\.(wq|wk|lora_w[qk]_l2)\.(weight|bias)$", name))


def _rotated(tensor: Tensor, heads: int) -> Tensor:
    """Move rows [H*d,...] from pairs of neighbours to pairs half a head apart."""
    rows = tensor.view(heads, -1, 2, *tensor.shape[1:])  # [H,d/2,2,...]
    return rows.transpose(1, 2).reshape(tensor.shape)
