"""A frozen language model that reads one vector per item through gated prefixes in every layer.

Two phases of training, as in ImageBind-LLM and Point-LLM: `pretrain` trains the gates and the
layers' own prefixes (and whatever makes the vector); `finetune` trains norms, and biases and
low-rank adapters of the linear layers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lavis.models.language.gated_prefix import PrefixMemory, active, attach
from lavis.models.language.llm import LanguageModel

PHASES = ("pretrain", "finetune")
# wq wk wv wo w1 w3 w2 of the release
LINEAR_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
WITHOUT_BIAS = ("k_proj", "v_proj")


class GatedLanguageModel(LanguageModel):
    """A language model with gated prefixes.

    Where `LanguageModel` takes the prefix of a text, this takes P vectors per item [B,P,D_llm],
    which are added to the prefix of each layer; no token of the text is theirs.

    Args:
        name: built-in name, folder or hub name of a model of the Llama family.
        phase: one of `PHASES`; what is trained.
        length: P, prefix vectors of a layer.
        lora_rank: of the adapters of `finetune`.
        dtype: of the frozen weights.

    Raises:
        ConfigError: a model whose layers cannot read prefixes.

    Attributes:
        gates: [L,H], before tanh; zeros at first.
        prefix: [L*P,D_llm], of the layers.
    """

    def __init__(
        self,
        name: str,
        phase: str = "pretrain",
        length: int = 1,
        lora_rank: int = 16,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(name, None, dtype)
        layers = attach(self.model, "model.llm")
        self.length = length
        self.gates = nn.Parameter(torch.zeros(layers, self.model.config.num_attention_heads))
        self.prefix = nn.Embedding(layers * length, self.hidden_size)
        if phase == "finetune":
            self._finetune(lora_rank)

    def _finetune(self, rank: int) -> None:
        """Train norms, and biases and adapters of the linear layers, instead of the prefixes."""
        self.model = add_biased_lora(self.model, rank)
        self.has_lora = True
        self.gates.requires_grad_(False)
        self.prefix.requires_grad_(False)
        self.own_names = ("gates", "prefix.weight")
        for name, parameter in self.model.named_parameters():
            if "norm" in name:
                parameter.requires_grad_(True)

    def memory(self, vectors: Tensor) -> PrefixMemory:
        """Return what the layers read of vectors [B,P,D_llm]."""
        own = self.prefix.weight.view(len(self.gates), self.length, -1)  # [L,P,D]
        return PrefixMemory(vectors[:, None] + own, self.gates)

    def loss(self, prefix: Tensor, prompts: Sequence[str], targets: Sequence[str]) -> Tensor:
        """Mean cross-entropy of the target tokens behind vectors [B,P,D_llm]."""
        with active(self.memory(prefix)):
            return super().loss(prefix[:, :0], prompts, targets)

    @torch.no_grad()
    def log_likelihood(
        self, prefix: Tensor, prompts: Sequence[str], targets: Sequence[str]
    ) -> tuple[Tensor, Tensor]:
        """Log-likelihood of each target behind vectors [B,P,D_llm]; see `LanguageModel`."""
        with active(self.memory(prefix)):
            return super().log_likelihood(prefix[:, :0], prompts, targets)

    def _generate_ids(
        self, prefix: Tensor, ids: Tensor, mask: Tensor, max_new_tokens: int, options: dict
    ) -> Tensor:
        # Its first use runs the model on a text of its own, which no item's prefix belongs to.
        _ = self.beams_share_prefix
        with active(self.memory(prefix)):
            return super()._generate_ids(prefix[:, :0], ids, mask, max_new_tokens, options)


def add_biased_lora(model: Any, rank: int) -> Any:
    """Wrap a model of the Llama family with trainable adapters and biases, both zero at first.

    As in the release, every linear layer of attention and MLP has an adapter of scale 1, and every
    one but keys and values a bias.
    """
    from peft import LoraConfig, TaskType, get_peft_model

    config = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=rank,
        lora_alpha=rank,
        lora_dropout=0.0,
        lora_bias=True,
        target_modules=list(LINEAR_LAYERS),
    )
    wrapped = get_peft_model(model, config)
    for name, parameter in wrapped.named_parameters():
        if name.endswith("lora_B.default.bias") and _layer(name.split(".")) in WITHOUT_BIAS:
            parameter.requires_grad_(False)
    return wrapped


def _layer(parts: Iterable[str]) -> str | None:
    """Return the linear layer that a parameter's name is of."""
    return next((part for part in parts if part in LINEAR_LAYERS), None)
