"""Language models of transformers behind one small interface: frozen, or with LoRA adapters.

A soft prefix (the projected queries) comes before a text prompt. `LanguageModel.loss` scores a
target after both; `LanguageModel.generate` writes one. Decoder-only models (OPT, Llama, SmolLM2,
Qwen) read prefix, prompt and target in one sequence; encoder-decoder models (T5) read the target
in the decoder.

Sequences are packed without a loop over samples: real tokens are moved together by one stable sort.
Training keeps no key/value cache, and computes logits before target tokens only
(`language/logits.py`).
Generation runs objects with prompts of similar length together, and the beams of one object share
the cache of its prefix where that is exact (`language/shared_prefix.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lavis.common.errors import ConfigError, require_choice
from lavis.models.language.beam_search import BeamOptions, beam_search
from lavis.models.language.logits import head_is_all, keeps_logits, logits_at
from lavis.models.language.shared_prefix import SharedPrefix, shares_exactly
from lavis.models.weights.pretrained import load_model, load_part

ATTENTIONS = ("sdpa", "eager")


@dataclass
class LoraOptions:
    """Low-rank adapters (arXiv 2106.09685) through peft; rank 0 leaves the model frozen."""

    rank: int = 0
    alpha: int = 16
    dropout: float = 0.05
    target_modules: Sequence[str] | str | None = None  # None: peft's choice for the architecture


class LanguageModel(nn.Module):
    """A frozen language model.

    Args:
        name: built-in name (`smollm2-135m`), folder, or hub name.
        lora: adapters to train, or None.
        dtype: of the frozen weights; float32 where bf16 is slow (CPU).
        end_text: text that ends a target, e.g. a newline as in BLIP-2's OPT; None is the end token.
        attention: `sdpa` or `eager`; None is transformers' choice. Steps of short texts are
            faster with `eager` on CPU, for the reason that attention.py gives.

    Raises:
        ConfigError: another attention, or a model without input embeddings.

    Attributes:
        hidden_size: width D_llm of its input embeddings.
        is_encoder_decoder: T5-like models.
    """

    model: Any  # of transformers, or wrapped by peft
    own_names: tuple[str, ...] = ()  # frozen weights that the named model does not hold
    hidden_size: int

    def __init__(
        self,
        name: str,
        lora: LoraOptions | None = None,
        dtype: torch.dtype = torch.float32,
        end_text: str | None = None,
        attention: str | None = None,
    ) -> None:
        super().__init__()
        if attention is not None:
            require_choice("attention", attention, ATTENTIONS, "model.llm_attention")
        from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

        self.tokenizer = _load_tokenizer(name)
        config = load_part(AutoConfig, name, "model.llm")
        self.is_encoder_decoder = bool(getattr(config, "is_encoder_decoder", False))
        auto_class = AutoModelForSeq2SeqLM if self.is_encoder_decoder else AutoModelForCausalLM
        self.model = load_model(
            auto_class, name, "model.llm", dtype=dtype, attn_implementation=attention
        )
        self.end_text = end_text or self.tokenizer.eos_token
        self.end_id = self.tokenizer(self.end_text, add_special_tokens=False).input_ids[-1]
        self.model.requires_grad_(False)
        if self.model.get_input_embeddings() is None:
            raise ConfigError(
                "the language model has no input embeddings to put a prefix before",
                where="model.llm",
                got=name,
                expected="a causal or encoder-decoder model of transformers",
            )
        self.hidden_size = self.model.get_input_embeddings().embedding_dim
        self._head_is_all = not self.is_encoder_decoder and head_is_all(self.model)
        self.has_lora = bool(lora and lora.rank)
        if lora and lora.rank:
            self.model = _add_lora(self.model, lora, self.is_encoder_decoder)

    def embed(self, ids: Tensor) -> Tensor:
        """Look up input embeddings: ids [B,T] -> [B,T,D_llm]."""
        return self.model.get_input_embeddings()(ids)

    def embedding_table(self) -> Tensor:
        """Return the input embeddings of the vocabulary [V,D_llm], without gradient."""
        return self.model.get_input_embeddings().weight.detach()

    def embedding_scale(self) -> float:
        """Root mean square of the token embeddings' entries."""
        return float(self.embedding_table().float().square().mean().sqrt())

    def train(self, mode: bool = True) -> LanguageModel:
        """Follow the mode only where adapters are trained: a frozen model never drops out."""
        super().train(mode and self.has_lora)
        return self

    def loss(self, prefix: Tensor, prompts: Sequence[str], targets: Sequence[str]) -> Tensor:
        """Mean cross-entropy of the target tokens, the end token included.

        Args:
            prefix: [B,Q,D_llm], what the model sees of each cloud.
            prompts: B texts between prefix and target; may be empty.
            targets: B texts to be written.
        """
        prompt_ids, prompt_mask = self.tokenize(prompts)
        target_ids, target_mask = self.tokenize(targets, add_end=True)
        if self.is_encoder_decoder:
            embeds, mask = self._prefixed(prefix, prompt_ids, prompt_mask)
            labels = target_ids.masked_fill(~target_mask.bool(), -100)
            return self.model(inputs_embeds=embeds, attention_mask=mask, labels=labels).loss
        ids = torch.cat([prompt_ids, target_ids], 1)
        mask = torch.cat([prompt_mask, target_mask], 1)
        is_target = F.pad(target_mask, (prompt_ids.shape[1], 0))
        ids, mask, is_target = pack(mask, ids, mask, is_target)
        logits = self._target_logits(prefix, ids, mask, is_target)
        return F.cross_entropy(logits.float(), ids[is_target.bool()])

    @torch.no_grad()
    def log_likelihood(
        self, prefix: Tensor, prompts: Sequence[str], targets: Sequence[str]
    ) -> tuple[Tensor, Tensor]:
        """Log-likelihood of each target after its prefix and prompt, the end token included.

        Args:
            prefix: [B,Q,D_llm], what the model sees of each cloud.
            prompts, targets: as in `loss`.

        Returns:
            Sums over the target's tokens float32 [B], and their numbers int64 [B].
        """
        prompt_ids, prompt_mask = self.tokenize(prompts)
        ids, mask = self.tokenize(targets, add_end=True)
        is_target = mask
        if self.is_encoder_decoder:
            embeds, full_mask = self._prefixed(prefix, prompt_ids, prompt_mask)
            labels = ids.masked_fill(~mask.bool(), -100)
            output = self.model(inputs_embeds=embeds, attention_mask=full_mask, labels=labels)
            logits = output.logits[mask.bool()]  # [M,V]
        else:
            is_target = F.pad(mask, (prompt_ids.shape[1], 0))
            ids, mask = torch.cat([prompt_ids, ids], 1), torch.cat([prompt_mask, mask], 1)
            ids, mask, is_target = pack(mask, ids, mask, is_target)
            logits = self._target_logits(prefix, ids, mask, is_target)
        tokens = ids[is_target.bool()][:, None]  # [M,1]
        scores = logits.float().log_softmax(-1).gather(1, tokens)[:, 0]
        rows = is_target.nonzero()[:, 0]  # [M] the item of each token
        return scores.new_zeros(len(ids)).index_add(0, rows, scores), is_target.sum(1)

    @torch.no_grad()
    def generate(
        self,
        prefix: Tensor,
        prompts: Sequence[str],
        max_new_tokens: int = 30,
        batch_size: int | None = None,
        **options: Any,
    ) -> list[str]:
        """Write a text after each prefix and prompt.

        Args:
            prefix: [B,Q,D_llm].
            prompts: B texts.
            max_new_tokens: longest text.
            batch_size: objects that run together, sorted by the length of their prompts, so that
                little padding is computed; None is all B. The order of the result is the prompts'.
            options: of transformers' `generate` (num_beams, min_new_tokens, do_sample, top_p …).
        """
        ids, mask = self.tokenize(prompts)
        order = mask.sum(1).argsort(stable=True) if batch_size else torch.arange(len(ids))
        texts = [""] * len(ids)
        for rows in order.split(batch_size or len(ids)):
            length = int(mask[rows].sum(1).max())
            written = self._generate_ids(
                prefix[rows], ids[rows, :length], mask[rows, :length], max_new_tokens, options
            )
            decoded = self.tokenizer.batch_decode(written, skip_special_tokens=True)
            for row, text in zip(rows.tolist(), decoded):
                texts[row] = text.strip()
        return texts

    def _generate_ids(
        self, prefix: Tensor, ids: Tensor, mask: Tensor, max_new_tokens: int, options: dict
    ) -> Tensor:
        if self.is_encoder_decoder:
            embeds, full_mask = self._prefixed(prefix, ids, mask)
        else:
            # Decoding appends on the right, so the padding of shorter prompts goes to the front.
            ids, mask = pack(1 - mask, ids, mask)
            embeds, full_mask = self._prefixed_left(prefix, ids, mask)
            beams = _shared_beam_options(options)
            if beams is not None and self.beams_share_prefix:
                return self._generate_with_beams(embeds, full_mask, max_new_tokens, *beams)
        return self.model.generate(
            inputs_embeds=embeds,
            attention_mask=full_mask,
            max_new_tokens=max_new_tokens,
            pad_token_id=self.tokenizer.pad_token_id,
            eos_token_id=self.end_id,
            **(self._last_logits_only() | options),
        )

    def _last_logits_only(self) -> dict[str, Tensor]:
        """Compute the logits of the next token alone, where the model supports it.

        By index, not by the number 1 that transformers passes: the number makes a strided slice
        [B,1,D], whose product with the vocabulary [V,D] torch computes in B copies of it (32
        prompts before SmolLM2 on 2 CPU cores: 2.1 s a batch instead of 8 ms).
        """
        if not keeps_logits(self.bare_model):
            return {}
        return {"logits_to_keep": torch.tensor([-1], device=self.model.device)}

    @cached_property
    def beams_share_prefix(self) -> bool:
        """Whether our beam search is exact for this model; else that of transformers is used."""
        exact = shares_exactly(self.bare_model)
        if not exact:
            kind = self.model.config.model_type
            logging.info("Beam search of %s uses transformers': keys have an order", kind)
        return exact

    def _generate_with_beams(
        self,
        embeds: Tensor,
        mask: Tensor,
        max_new_tokens: int,
        num_beams: int,
        min_new_tokens: int,
        length_penalty: float,
    ) -> Tensor:
        """Beam search whose beams share the cache of embeds [B,T,D]; returns ids [B,L]."""
        shared = SharedPrefix(self.model, embeds, mask, **self._last_logits_only())
        options = BeamOptions(
            *(num_beams, max_new_tokens, self.end_id, self.tokenizer.pad_token_id),
            min_new_tokens=min_new_tokens,
            length_penalty=length_penalty,
        )
        return beam_search(shared.logits, shared.step, options)

    def tokenize(self, texts: Sequence[str], add_end: bool = False) -> tuple[Tensor, Tensor]:
        """Turn texts into ids and mask [B,T], padded on the right; `add_end` adds the end token."""
        end = self.end_text if add_end else ""
        tokens = self.tokenizer(
            [text + end for text in texts],
            padding="longest",
            padding_side="right",
            add_special_tokens=False,
            return_tensors="pt",
        )
        device = self.model.device
        # An all-empty batch of prompts comes back as floats.
        return tokens.input_ids.long().to(device), tokens.attention_mask.long().to(device)

    def _prefixed(self, prefix: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Put the prefix before the embedded tokens: [B,Q+T,D] and its mask."""
        embeds = torch.cat([prefix.to(self.model.dtype), self.embed(ids)], 1)
        return embeds, F.pad(mask, (prefix.shape[1], 0), value=1)

    def _prefixed_left(self, prefix: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """As `_prefixed`, with the padding of left-padded ids moved before the prefix."""
        embeds, full_mask = self._prefixed(prefix, ids, mask)
        return pack(1 - full_mask, embeds, full_mask)  # type: ignore[return-value]

    def _target_logits(self, prefix: Tensor, ids: Tensor, mask: Tensor, chosen: Tensor) -> Tensor:
        """Return the logits that predict the tokens `chosen` [B,T] behind a prefix: [M,V]."""
        embeds, full_mask = self._prefixed(prefix, ids, mask)
        # The state before a token predicts it.
        before = F.pad(chosen.bool(), (prefix.shape[1] - 1, 1))
        return logits_at(self.bare_model, embeds, full_mask, before, self._head_is_all)

    @property
    def bare_model(self) -> Any:
        """The model of transformers, without the wrapper of adapters."""
        return self.model.get_base_model() if self.has_lora else self.model


def pack(first: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
    """Move the positions where `first` [B,T] is 1 to the front, keeping order, in every tensor.

    Args:
        first: 1 where a position goes to the front, 0 where it goes behind.
        tensors: each [B,T] or [B,T,D].
    """
    order = (1 - first.long()).argsort(dim=1, stable=True)  # [B,T]
    moved = []
    for tensor in tensors:
        index = order if tensor.ndim == 2 else order[..., None].expand_as(tensor)
        moved.append(tensor.gather(1, index))
    return tuple(moved)


def _shared_beam_options(options: dict[str, Any]) -> tuple[int, int, float] | None:
    """Return (num_beams, min_new_tokens, length_penalty) where our beam search serves, or None.

    It has no sampling and no further options; those use transformers.
    """
    known = {"num_beams", "min_new_tokens", "length_penalty", "do_sample"}
    others = [name for name, value in options.items() if name not in known and value is not None]
    if options.get("num_beams", 1) < 2 or options.get("do_sample") or others:
        return None
    penalty = options.get("length_penalty")
    return (
        options["num_beams"],
        options.get("min_new_tokens") or 0,
        1.0 if penalty is None else penalty,
    )


def _load_tokenizer(name: str) -> Any:
    """Load the tokenizer; models without a pad token pad with their end token."""
    from transformers import AutoTokenizer

    tokenizer = load_part(AutoTokenizer, name, "model.llm")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _add_lora(model: Any, options: LoraOptions, is_encoder_decoder: bool) -> Any:
    """Wrap the model with trainable low-rank adapters."""
    from peft import LoraConfig, TaskType, get_peft_model

    targets = options.target_modules
    task = TaskType.SEQ_2_SEQ_LM if is_encoder_decoder else TaskType.CAUSAL_LM
    config = LoraConfig(
        task_type=task,
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=targets if targets is None or isinstance(targets, str) else list(targets),
    )
    return get_peft_model(model, config)
