"""Every causal family of transformers that builds tiny: our results are the model's own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from lavis.models.language.llm import LanguageModel
from lavis.models.language.logits import head_is_all
from lavis.models.language.shared_prefix import shares_exactly

FAMILIES = (
    *("bloom", "codegen", "cohere", "cohere2", "ernie4_5", "exaone4", "falcon", "gemma", "gemma2"),
    *("gemma3_text", "glm", "glm4", "gpt2", "gpt_bigcode", "gpt_neo", "gpt_neox", "gptj"),
    *("gpt_oss", "granite", "granitemoe", "helium", "hunyuan_v1_dense", "llama", "mistral"),
    *("mixtral", "mpt", "nanochat", "nemotron", "olmo", "olmo2", "olmo3", "olmoe", "opt"),
    *("persimmon", "phi", "phi3", "qwen2", "qwen3", "qwen3_moe", "seed_oss", "smollm3"),
    *("stablelm", "starcoder2", "xglm"),
)
# Caps and scales that matter at the size of random logits.
SCALED = {
    "gemma2": {"final_logit_softcapping": 0.05},
    "granite": {"logits_scaling": 8.0},
    "granitemoe": {"logits_scaling": 8.0},
    "cohere": {"logit_scale": 0.3},
    "cohere2": {"logit_scale": 0.3},
    "nanochat": {"final_logit_softcapping": 0.05},
}
# LFM2 is all attention when no layer types are given.
LAYERS = {"lfm2": {"layer_types": ["conv", "full_attention"]}}
ORDERED = ("bloom", "mpt", "falcon", "gpt_neo", "gemma2", "gemma3_text", "cohere2", "gpt_oss")
# Recurrent or convolutional states, of which a model keeps one per text.
STATEFUL = ("mamba", "rwkv", "lfm2", "minimax", "falcon_h1", "recurrent_gemma", "jamba")
SIZES = {
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "word_embed_proj_dim"), 32),
    **dict.fromkeys(("intermediate_size", "ffn_dim"), 64),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads"), 4),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx"), 128),
    **dict.fromkeys(("num_experts", "num_local_experts", "expansion_ratio"), 2),
    **dict.fromkeys(("head_dim", "rotary_dim"), 8),
    "num_key_value_heads": 2,
    "num_experts_per_tok": 1,
    "moe_intermediate_size": 16,
    "attention_types": [[["global", "local"], 1]],
    "window_size": 3,
    "sliding_window": 3,
    "eos_token_id": 0,
    "pad_token_id": 0,
    "bos_token_id": None,
    "alibi": True,
}
READ_ONLY = {"falcon": ("head_dim",)}


def tiny_config(family: str, vocab_size: int):
    """Return a configuration of a family with every size that it knows made small."""
    standard = AutoConfig.for_model(family)
    aliases = getattr(standard, "attribute_map", {})
    sizes = {"vocab_size": vocab_size} | SIZES
    known = {k: v for k, v in sizes.items() if hasattr(standard, k)}
    known = {k: v for k, v in known.items() if aliases.get(k) not in known}
    for key in READ_ONLY.get(family, ()):
        known.pop(key, None)
    return AutoConfig.for_model(family, **known | SCALED.get(family, {}) | LAYERS.get(family, {}))


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory, tiny_llama) -> tuple[str, LanguageModel]:
    """A tiny model of the family that reads bytes, with weights large enough to matter."""
    folder = tmp_path_factory.mktemp(request.param)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(Path(tiny_llama) / name, folder)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(tiny_config(request.param, 257))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.mul_(4.0)
    model.save_pretrained(folder)
    return request.param, LanguageModel(str(folder)).eval()


def prefix_for(model: LanguageModel, batch: int) -> torch.Tensor:
    table = model.embedding_table()
    generator = torch.Generator().manual_seed(5)
    return table[torch.randint(1, 257, (batch, 3), generator=generator)]


PROMPTS, TARGETS = ["what is it", "a"], [" a red brick", " it"]


def own_logits(model: LanguageModel, prefix: torch.Tensor, prompt: str, target: str):
    """Logits of transformers for one unpadded text, and its target ids."""
    prompt_ids, _ = model.tokenize([prompt])
    ids, _ = model.tokenize([target], add_end=True)
    embeds = torch.cat([prefix[None], model.embed(torch.cat([prompt_ids, ids], 1))], 1)
    mask = torch.ones(embeds.shape[:2], dtype=torch.long)
    logits = model.model(inputs_embeds=embeds, attention_mask=mask).logits
    return logits[0, -ids.shape[1] - 1 : -1], ids[0]


@torch.no_grad()
def test_loss_and_likelihood_are_those_of_the_model(family):
    _, model = family
    prefix = prefix_for(model, 2)
    pairs = [own_logits(model, *row) for row in zip(prefix, PROMPTS, TARGETS)]
    scores = [logits.log_softmax(-1).gather(1, ids[:, None])[:, 0] for logits, ids in pairs]
    sums, counts = model.log_likelihood(prefix, PROMPTS, TARGETS)
    assert torch.allclose(sums, torch.stack([score.sum() for score in scores]), atol=1e-3)
    assert counts.tolist() == [len(score) for score in scores]
    loss = model.loss(prefix, PROMPTS, TARGETS)
    assert torch.allclose(loss, -torch.cat(scores).mean(), atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("num_beams", [1, 3])
def test_texts_are_those_of_transformers(family, num_beams):
    _, model = family
    prefix = prefix_for(model, 1)
    bounds = {"max_new_tokens": 6, "min_new_tokens": 2, "num_beams": num_beams}
    ids, _ = model.tokenize(PROMPTS[:1])
    embeds = torch.cat([prefix, model.embed(ids)], 1)
    own = model.model.generate(
        inputs_embeds=embeds,
        attention_mask=torch.ones(embeds.shape[:2], dtype=torch.long),
        pad_token_id=model.tokenizer.pad_token_id,
        eos_token_id=model.end_id,
        do_sample=False,
        **bounds,
    )
    expected = model.tokenizer.batch_decode(own, skip_special_tokens=True)[0].strip()
    assert model.generate(prefix, PROMPTS[:1], do_sample=False, **bounds) == [expected]


def test_shortcuts_are_taken_only_where_they_are_exact(family):
    name, model = family
    if name in SCALED:
        assert not head_is_all(model.model)
    if name in ORDERED:
        assert not shares_exactly(model.model)
    if name in ("llama", "opt", "gpt2", "qwen2", "gpt_neox"):
        assert head_is_all(model.model)
        assert shares_exactly(model.model)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", STATEFUL)
def test_models_with_states_do_not_share_a_prefix(name, dtype):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(tiny_config(name, 257)).eval().to(dtype)
    assert not shares_exactly(model)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_built_in_model_shares_its_prefix(dtype):
    """Five beams are faster by this; a probe that refused it would cost that in silence."""
    model = LanguageModel("smollm2-135m", dtype=dtype).eval()
    fused = model.model.config._attn_implementation
    assert model.beams_share_prefix
    assert model.model.config._attn_implementation == fused == "sdpa"
