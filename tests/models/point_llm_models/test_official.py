"""Point-LLM's numbers: bind network, cache, mixture and gated attention equal the release's.

official_values.json was written by running the release (ZiyuGuo99/Point-Bind_Point-LLM, 7a0448b) on
the weights that `drawn` makes of the release's parameter names.
"""

from __future__ import annotations

import json
import math
import shutil
import zlib
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lavis.common.errors import CheckpointError
from lavis.models.language.gated_llm import GatedLanguageModel
from lavis.models.language.gated_prefix import active
from lavis.models.point_llm_models.bind_network import BindNetwork
from lavis.models.point_llm_models.releases import released_state
from lavis.models.point_llm_models.visual_cache import VisualCache

OFFICIAL = json.loads((Path(__file__).parent / "official_values.json").read_text())
D, L, H, V, E = 32, 2, 4, 40, 12
TOKENS = torch.tensor([[1, 5, 9, 13, 17], [2, 8, 14, 20, 26]])
LINEAR = {"wq": (D, D), "wk": (D, D), "wv": (D, D), "wo": (D, D)}
MLP = {"w1": (96, D), "w2": (D, 96), "w3": (96, D)}


def drawn(name: str, *shape: int, scale: float = 0.2) -> torch.Tensor:
    start = zlib.crc32(name.encode()) % 1000
    numbers = torch.arange(math.prod(shape), dtype=torch.float64) + start
    values = (torch.sin(numbers * 1.7) * scale).float().reshape(shape)
    return values + 1 if "norm" in name and name.endswith("weight") else values


def unit(name: str, *shape: int) -> torch.Tensor:
    return F.normalize(drawn(name, *shape, scale=1.0), dim=-1)


def llama_shapes(adapted: bool) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the release's LLaMA."""
    shapes: dict[str, tuple[int, ...]] = {
        "tok_embeddings.weight": (V, D),
        "norm.weight": (D,),
        "output.weight": (V, D),
    }
    for layer in range(L):
        start = f"layers.{layer}."
        shapes[start + "attention.gate"] = (1, H, 1, 1)
        shapes |= {start + norm + ".weight": (D,) for norm in ("attention_norm", "ffn_norm")}
        for room, parts in (("attention.", LINEAR), ("feed_forward.", MLP)):
            for part, (rows, columns) in parts.items():
                shapes[f"{start}{room}{part}.weight"] = (rows, columns)
                if adapted:
                    shapes[f"{start}{room}lora_{part}_l1.weight"] = (4, columns)
                    shapes[f"{start}{room}lora_{part}_l2.weight"] = (rows, 4)
                if adapted and part not in ("wk", "wv"):
                    shapes[f"{start}{room}{part}.bias"] = (rows,)
    return {"llama." + name: shape for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def llama_folder(tiny_llama, tmp_path_factory) -> str:
    """A Llama of the official run's sizes, with the tokenizer of another one."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("official_llama")
    shutil.copytree(tiny_llama, folder, dirs_exist_ok=True)
    config = LlamaConfig(
        vocab_size=V,
        hidden_size=D,
        intermediate_size=96,
        num_hidden_layers=L,
        num_attention_heads=H,
        rms_norm_eps=1e-6,
        bos_token_id=None,
        eos_token_id=1,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return str(folder)


def load(module: nn.Module, state: dict[str, torch.Tensor]) -> None:
    missing, unexpected = module.load_state_dict(state, strict=False)
    assert not unexpected
    # Biases that the release does not have are zero, and peft copies nothing else.
    assert all(name.endswith("lora_B.default.bias") for name in missing)


@pytest.mark.parametrize("phase", ["pretrain", "finetune"])
@pytest.mark.parametrize("length", [1, 3])
def test_logits_are_the_official_ones(llama_folder, phase, length):
    model = GatedLanguageModel(llama_folder, phase, length, lora_rank=4)
    adapted = phase == "finetune"
    release = {name: drawn(name, *shape) for name, shape in llama_shapes(adapted).items()}
    assert sorted(release) == OFFICIAL[f"names_{phase}"]
    release["prefix_query.weight"] = drawn("prefix_query.weight", L * length, D)
    whole = nn.ModuleDict({"language_model": model})
    load(whole, released_state(release, H, adapted))
    vectors = drawn("visual", 2, length, D, scale=1.0)
    with torch.no_grad(), active(model.memory(vectors)):
        logits = model.model(input_ids=TOKENS).logits
    expected = torch.tensor(OFFICIAL[f"logits_{phase}_{length}"])
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("phase", ["pretrain", "finetune"])
def test_what_is_trained_is_what_the_release_trains(llama_folder, phase):
    model = GatedLanguageModel(llama_folder, phase, lora_rank=4)
    adapted = phase == "finetune"
    names = [name for name in llama_shapes(adapted) if name in OFFICIAL[f"trainable_{phase}"]]
    tensors = {name: drawn(name, *llama_shapes(adapted)[name]) for name in names}
    expected = set(released_state(tensors, H, adapted))
    trained = {f"language_model.{n}" for n, p in model.named_parameters() if p.requires_grad}
    extra = {"language_model.prefix.weight"} if phase == "pretrain" else set()
    assert trained == expected | extra


def bridge(legacy: bool) -> BindNetwork:
    network = BindNetwork(E, D, legacy=legacy)
    shapes = {"image_bind_proj.weight": (D, E), "image_bind_proj.bias": (D,)}
    for block in (1, 2, 3):
        shapes[f"image_bind_norm_{block}.weight"] = (D,)
        for part, rows, columns in (("f1", 4 * D, D), ("f2", D, 4 * D), ("f3", 4 * D, D)):
            shapes[f"image_bind_{part}_{block}.weight"] = (rows, columns)
            if legacy:
                shapes[f"image_bind_{part}_{block}.bias"] = (rows,)
        if legacy:
            shapes[f"image_bind_norm_{block}.bias"] = (D,)
    state = released_state({name: drawn(name, *shape) for name, shape in shapes.items()}, H, False)
    nn.ModuleDict({"bind_network": network}).load_state_dict(state)
    return network


@pytest.mark.parametrize(("name", "legacy"), [("bridge_legacy", True), ("bridge_rms", False)])
def test_the_bind_network_is_the_official_one(name, legacy):
    found = bridge(legacy)(unit("embeds", 2, E))
    # The release divides the weight of a single input by 1 + 1e-6.
    torch.testing.assert_close(found, torch.tensor(OFFICIAL[name]), rtol=1e-5, atol=1e-5)


def test_the_cache_is_the_official_one_item_by_item():
    cache = VisualCache(unit("keys", 17, E), "any")
    found = bridge(True)(cache(unit("embeds", 2, E)))
    expected = torch.tensor(OFFICIAL["cache"])[:, 0]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_two_inputs_mix_as_in_the_release():
    from lavis.models.point_llm_models.point_llm import PointLLM

    own = {"point": unit("embeds", 2, E), "audio": unit("other", 2, E)}
    model = SimpleNamespace(embed=lambda samples, name: own[name], cache=None, training=False)
    mixed = PointLLM.mixed(model, {}, {"point": 0.25, "audio": 0.75})
    expected = torch.tensor(OFFICIAL["mixed"])
    torch.testing.assert_close(bridge(True)(mixed), expected, rtol=1e-5, atol=1e-5)


def test_a_file_of_something_else_is_refused():
    with pytest.raises(CheckpointError, match=r"model\.released"):
        released_state({"visual.weight": torch.zeros(1)}, H, False)
