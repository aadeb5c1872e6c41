"""Yaml keys of Point-LLM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lavis.config import ModelConfig, option
from lavis.models.language.gated_llm import PHASES

TEMPLATES = ("alpaca", "plain")


@dataclass(frozen=True)
class PointLLMConfig(ModelConfig):
    """Keys of `point_llm`; names of the release in brackets.

    Attributes:
        joint: the model of the joint space: its `arch`, and keys of its `model` section, e.g.
            `{arch: point_bind, model_type: bricks, finetuned: output/…/checkpoint_last.pth}`. It
            stays frozen.
        train_inputs: modalities that training reads; images alone, as published.
        inputs: modalities that captions and answers read; several are mixed.
        input_shares: of `inputs`; empty: equal ones.
        llm: built-in name, folder or hub name of a model of the Llama family.
        llm_dtype: of its weights: float32, bfloat16, auto.
        phase: `pretrain` trains gates, prefixes and bind network; `finetune` norms, biases and
            adapters.
        prefix_length: prefix vectors of a layer (query_len).
        lora_rank: of the adapters.
        bind_blocks: gated blocks of the bind network.
        bind_expansion: their hidden width over the language model's.
        legacy_bridge: LayerNorm and biases in these blocks; else RMSNorm and none.
        prompt: instruction of captions.
        template: of prompts: `alpaca` as published, or `plain`, the instruction alone.
        cache: file of the visual cache; null goes without.
        cache_size: nearest images that are mixed.
        cache_sharpness: what their cosines are multiplied by before softmax (cache_t).
        cache_weight: of the mixture against the embedding itself.
        released: a file of the release (7B.pth); null starts fresh.
    """

    joint: Mapping[str, Any] | None = None
    train_inputs: Sequence[str] = option(["image"])
    inputs: Sequence[str] = option(["point"])
    input_shares: Sequence[float] = option([])
    llm: str = "smollm2-135m"
    llm_dtype: str = "float32"
    phase: str = option("pretrain", choices=PHASES)
    prefix_length: int = option(1, low=1)
    lora_rank: int = option(16, low=1)
    bind_blocks: int = option(3, low=0)
    bind_expansion: int = option(4, low=1)
    legacy_bridge: bool = True
    prompt: str = "Describe the object."
    template: str = option("alpaca", choices=TEMPLATES)
    cache: str | None = None
    cache_size: int = option(10, low=1)
    cache_sharpness: float = option(20.0, low=0.0)
    cache_weight: float = option(0.5, low=0.0, high=1.0)
    released: str | None = None
