"""Gated prefixes: the bare model at zero gates, the formula elsewhere, phases, and generation."""

from __future__ import annotations

import pytest
import torch

from lavis.common.errors import ConfigError
from lavis.models.language.gated_llm import GatedLanguageModel
from lavis.models.language.gated_prefix import PrefixMemory, active
from lavis.models.language.llm import LanguageModel

PROMPTS, TARGETS = ["what is it ?", "is it a chair ?"], [" a chair", " yes"]


@pytest.fixture
def vectors() -> torch.Tensor:
    return torch.randn(2, 1, 32, generator=torch.Generator().manual_seed(3))


def build(name: str, phase: str = "pretrain", length: int = 1, gate: float = 0.0):
    torch.manual_seed(0)
    model = GatedLanguageModel(name, phase, length, lora_rank=4)
    with torch.no_grad():
        model.gates.fill_(gate)
    return model.eval()


@pytest.mark.parametrize("phase", ["pretrain", "finetune"])
@pytest.mark.parametrize("length", [1, 3])
def test_zero_gates_leave_the_language_model_unchanged_to_the_bit(
    tiny_llama, vectors, phase, length
):
    gated, bare = build(tiny_llama, phase, length), LanguageModel(tiny_llama, attention="sdpa")
    ids, mask = bare.tokenize(PROMPTS)
    with torch.no_grad(), active(gated.memory(vectors)):
        found = gated.model(input_ids=ids, attention_mask=mask).logits
        expected = bare.model(input_ids=ids, attention_mask=mask).logits
    assert torch.equal(found, expected)
    assert torch.equal(
        gated.loss(vectors, PROMPTS, TARGETS), bare.loss(vectors[:, :0], PROMPTS, TARGETS)
    )


@pytest.mark.parametrize("length", [1, 3])
@pytest.mark.parametrize("key_value_heads", [4, 2])
def test_attention_adds_the_gated_prefix(length, key_value_heads):
    """Against the formula with its softmax written out."""
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaAttention

    torch.manual_seed(1)
    config = LlamaConfig(hidden_size=32, num_attention_heads=4, num_key_value_heads=key_value_heads)
    layer = LlamaAttention(config, layer_idx=1)
    prefix, gates = torch.randn(2, 2, length, 32), torch.randn(2, 4)
    query = torch.randn(6, 4, 5, 8)  # three beams of two items
    added = PrefixMemory(prefix, gates).read(layer, query).expand(6, 5, 4, 8)
    share = 4 // key_value_heads
    for row in range(6):
        own = prefix[row // 3, 1]
        for head in range(4):
            rows = slice(head // share * 8, head // share * 8 + 8)
            keys, values = own @ layer.k_proj.weight[rows].T, own @ layer.v_proj.weight[rows].T
            weights = (query[row, head] @ keys.T / 8**0.5).softmax(-1)
            expected = gates[1, head].tanh() * weights @ values
            torch.testing.assert_close(added[row, :, head], expected, rtol=1e-5, atol=1e-6)


def test_only_gates_and_prefixes_are_trained_first(tiny_llama, vectors):
    model = build(tiny_llama)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {"gates", "prefix.weight"}
    model.loss(vectors, PROMPTS, TARGETS).backward()
    assert model.gates.grad.abs().min() > 0  # the zero gates learn
    assert model.prefix.weight.grad.abs().max() == 0  # what they close does not


def test_finetuning_trains_norms_biases_and_adapters_alone(tiny_llama):
    model = build(tiny_llama, "finetune")
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    adapted = {name.split(".")[-4] for name in trained if "lora_A" in name}
    biased = {name.split(".")[-4] for name in trained if name.endswith("lora_B.default.bias")}
    assert adapted == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert biased == adapted - {"k_proj", "v_proj"}
    others = [name for name in trained if "lora_" not in name]
    assert len(others) == 5
    assert all("norm" in name for name in others)


def test_prefixes_do_not_pass_the_adapters(tiny_llama, vectors):
    model = build(tiny_llama, "finetune", gate=1.0)
    attention = next(m for m in model.modules() if getattr(m, "layer_idx", None) == 0)
    before = model.memory(vectors).read(attention, torch.zeros(2, 4, 1, 8))
    torch.nn.init.normal_(attention.v_proj.lora_B["default"].weight)
    after = model.memory(vectors).read(attention, torch.zeros(2, 4, 1, 8))
    assert torch.equal(before, after)


@pytest.mark.parametrize("beams", [1, 3])
def test_each_item_is_written_about_alone(tiny_llama, vectors, beams):
    model = build(tiny_llama, gate=2.0)
    together = model.generate(vectors, PROMPTS, 6, num_beams=beams, batch_size=1)
    alone = [
        model.generate(vectors[row : row + 1], [PROMPTS[row]], 6, num_beams=beams)[0]
        for row in range(2)
    ]
    assert together == alone
    assert together != model.generate(vectors.flip(0) * 9, PROMPTS, 6, num_beams=beams)


def test_decoding_with_a_cache_follows_the_whole_text(tiny_llama, vectors):
    """Greedy tokens are the arg max of one pass over the text that was written."""
    model = build(tiny_llama, gate=2.0)
    ids, mask = model.tokenize(PROMPTS[:1])
    written = model._generate_ids(vectors[:1], ids, mask, 5, {"do_sample": False})[0]
    text = torch.cat([ids, written[None]], 1)
    with torch.no_grad(), active(model.memory(vectors[:1])):
        logits = model.model(input_ids=text).logits[0]
    assert logits[ids.shape[1] - 1 : -1].argmax(-1).tolist() == written.tolist()


def test_likelihood_is_that_of_the_loss(tiny_llama, vectors):
    model = build(tiny_llama, gate=0.5)
    sums, counts = model.log_likelihood(vectors, PROMPTS, TARGETS)
    loss = model.loss(vectors, PROMPTS, TARGETS)
    torch.testing.assert_close(-sums.sum() / counts.sum(), loss)


def test_a_model_without_such_attention_is_refused(tiny_opt):
    with pytest.raises(ConfigError, match=r"model\.llm[\s\S]*Llama family"):
        GatedLanguageModel(tiny_opt)
