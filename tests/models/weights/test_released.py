"""Released BLIP-2 weights of LAVIS and transformers arrive under our names, value for value."""

from __future__ import annotations

import json

import pytest
import torch

from lavis.common.errors import CheckpointError
from lavis.models.qformer.layers import QFormerConfig
from lavis.models.qformer.qformer import QFormer
from lavis.models.weights.released import read_released, released_state

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "encoder_width": 12,
    "max_position_embeddings": 16,
}


@pytest.fixture
def qformer() -> QFormer:
    torch.manual_seed(0)
    config = QFormerConfig(vocab_size=30, num_query_token=3, **SIZES)
    return QFormer(config).eval()


@pytest.fixture(scope="module")
def retrieval_model():
    """A transformers Blip2ForImageTextRetrieval of a few thousand parameters."""
    from transformers import Blip2Config, Blip2ForImageTextRetrieval

    config = Blip2Config(
        qformer_config={**SIZES, "encoder_hidden_size": 12, "vocab_size": 30}
        | {"use_qformer_text_input": True},
        vision_config={
            "hidden_size": 12,
            "intermediate_size": 8,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
        },
        num_query_tokens=3,
        image_text_hidden_size=8,
    )
    torch.manual_seed(0)
    return Blip2ForImageTextRetrieval(config).eval()


def test_transformers_names_become_ours(retrieval_model, qformer):
    state = released_state(retrieval_model.state_dict())
    ours = {f"qformer.{name}" for name in qformer.state_dict()}
    heads = {
        f"{head}.{kind}"
        for head in ("vision_proj", "text_proj", "itm_head")
        for kind in ("weight", "bias")
    }
    # transformers' retrieval model has no LM head.
    assert set(state) == {name for name in ours if ".cls." not in name} | heads


@torch.no_grad()
def test_transformers_weights_give_transformers_states(retrieval_model, qformer):
    state = released_state(retrieval_model.state_dict())
    own = {n.removeprefix("qformer."): t for n, t in state.items() if n.startswith("qformer.")}
    qformer.load_state_dict(own, strict=False)
    tokens = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(1))
    queries = retrieval_model.query_tokens.expand(2, -1, -1)
    expected = retrieval_model.qformer(query_embeds=queries, encoder_hidden_states=tokens)
    ours, _ = qformer.query_pass(qformer.project_cloud(tokens))
    torch.testing.assert_close(ours, expected.last_hidden_state, atol=1e-5, rtol=1e-5)
    ids, mask = torch.tensor([[1, 4, 5], [1, 6, 0]]), torch.tensor([[1, 1, 1], [1, 1, 0]])
    embeds = retrieval_model.embeddings(input_ids=ids, query_embeds=queries)
    both = torch.cat([torch.ones(2, 3, dtype=torch.long), mask], 1)
    joint = retrieval_model.qformer(
        query_embeds=embeds, query_length=3, attention_mask=both, encoder_hidden_states=tokens
    )
    states = qformer.joint_pass(qformer.project_cloud(tokens), ids, mask)
    torch.testing.assert_close(states, joint.last_hidden_state[:, :3], atol=1e-5, rtol=1e-5)


def lavis_state(qformer: QFormer, projection: str | None) -> dict[str, torch.Tensor]:
    """Lay a Q-Former out as LAVIS saves it."""
    state = {
        "query_tokens" if name == "query_tokens" else f"Qformer.{name}": tensor
        for name, tensor in qformer.state_dict().items()
    }
    state["visual_encoder.patch_embed.weight"] = torch.zeros(2)
    state["Qformer.bert.embeddings.position_ids"] = torch.arange(16)[None]
    state["Qformer.cls.predictions.decoder.weight"] = torch.zeros(30, 16)
    if projection:
        state[f"{projection}.weight"] = torch.ones(20, 16)
        state[f"{projection}.bias"] = torch.ones(20)
    return state


@pytest.mark.parametrize("projection", [None, "opt_proj", "t5_proj"])
def test_lavis_files_load_with_and_without_projection(qformer, projection, tmp_path):
    torch.save({"model": lavis_state(qformer, projection)}, tmp_path / "blip2.pth")
    own = {"llm_proj.weight": torch.zeros(20, 16), "llm_proj.bias": torch.zeros(20)}
    state = read_released(tmp_path / "blip2.pth", own)
    expected = {f"qformer.{name}" for name in qformer.state_dict()}
    assert set(state) == expected | (set(own) if projection else set())


def test_a_projection_into_another_language_model_starts_fresh(qformer, tmp_path):
    torch.save({"model": lavis_state(qformer, "opt_proj")}, tmp_path / "blip2.pth")
    state = read_released(tmp_path / "blip2.pth", {"llm_proj.weight": torch.zeros(7, 16)})
    assert not [name for name in state if name.startswith("llm_proj")]
    own_file = {"llm_proj.weight": torch.ones(20, 16)}
    torch.save({"model": own_file}, tmp_path / "own.pth")
    # Our own checkpoint keeps it, so that the misfit is reported.
    kept = read_released(tmp_path / "own.pth", {"llm_proj.weight": torch.zeros(7, 16)})
    assert set(kept) == set(own_file)


def test_of_a_sharded_folder_only_our_tensors_are_read(retrieval_model, tmp_path):
    from safetensors.torch import save_file

    state = retrieval_model.state_dict()
    wanted = {name: t.clone() for name, t in state.items() if not name.startswith("vision_model.")}
    save_file(wanted, tmp_path / "model-1.safetensors")
    shards = dict.fromkeys(wanted, "model-1.safetensors")
    shards |= dict.fromkeys(state.keys() - wanted.keys(), "not-downloaded.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": shards}), encoding="utf-8")
    read = read_released(tmp_path, {})
    assert read.keys() == released_state(state).keys()
    (tmp_path / "model-1.safetensors").unlink()
    with pytest.raises(CheckpointError, match="shard"):
        read_released(tmp_path, {})


def test_point_proj_of_gpt4point_is_vision_proj(qformer):
    state = lavis_state(qformer, None)
    state |= {"point_proj.weight": torch.ones(8, 16), "point_proj.bias": torch.zeros(8)}
    renamed = released_state(state)
    assert torch.equal(renamed["vision_proj.weight"], torch.ones(8, 16))
    assert "vision_proj.bias" in renamed
    assert "point_proj.weight" not in renamed
