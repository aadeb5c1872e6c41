"""Point-LLM: trained on images, asked about points; the cache; what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lavis.common.errors import CheckpointError, ConfigError
from lavis.common.model_state import trainable_state
from lavis.models.point_llm_models.point_llm import FIRST_PHASE
from lavis.models.point_llm_models.prompts import instruction_prompt
from lavis.models.point_llm_models.visual_cache import VisualCache, load_cache
from lavis.tasks.embedding_export import as_safetensors


@pytest.fixture
def make(model_sections, build_model):
    """Return a function (options) -> tiny Point-LLM behind a tiny Point-Bind."""

    def build(**options: Any):
        model_sections["point_llm"] |= options
        return build_model("point_llm").eval()

    return build


@pytest.fixture
def asked(batch) -> dict[str, Any]:
    return batch | {"question": ["what ?"] * 4, "answer": ["a chair", "no", "two", "a lamp"]}


def open_gates(model) -> None:
    with torch.no_grad():
        model.language_model.gates.fill_(2.0)


def test_training_reads_images_and_never_points(make, batch):
    model = make()
    open_gates(model)
    loss = model(batch)["loss"]
    changed = batch | {"point_cloud": batch["point_cloud"] + 1}
    assert torch.equal(model(changed)["loss"], loss)
    other = batch | {"image_embeds": batch["image_embeds"].flip(0)}
    assert not torch.equal(model(other)["loss"], loss)


def test_captions_read_points_alone(make, batch):
    model = make()
    open_gates(model)
    before = model.cloud_prefix(batch)
    assert before.shape == (4, 1, 32)
    assert torch.equal(
        model.cloud_prefix(batch | {"image_embeds": batch["image_embeds"] * 3}), before
    )
    assert not torch.equal(
        model.cloud_prefix(batch | {"point_cloud": batch["point_cloud"].flip(0)}), before
    )
    assert len(model.generate(batch, num_beams=2, max_length=4)) == 4


def test_only_gates_prefixes_and_bind_network_are_trained(make):
    model = make()
    trained = {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {"language_model", "bind_network"}
    assert not model.train().joint.training


def test_inputs_are_mixed_by_their_weights(make, batch):
    model = make(inputs=["point", "image"], input_shares=[1, 3])
    mixed = model.mixed(batch, model.inputs)
    expected = 0.25 * model.embed(batch, "point") + 0.75 * model.embed(batch, "image")
    torch.testing.assert_close(mixed, expected)


def test_answers_are_scored_as_they_are_written(make, asked):
    model = make()
    open_gates(model)
    scores = model.score_answers(asked, [["a chair", "no"], ["no"], ["two"], []])
    assert [tuple(score.shape) for score in scores] == [(2, 2), (1, 2), (1, 2), (0, 2)]
    one = {key: value[1:2] for key, value in asked.items()}
    torch.testing.assert_close(model.score_answers(one, [["no"]])[0], scores[1])
    assert len(model.answer(asked, max_len=3)) == 4


def test_questions_and_captions_train_by_instruction(make, batch, asked):
    model = make()
    assert model(asked)["loss"] != model(batch)["loss"]
    assert "### Instruction:\nwhat ?\n\n### Response:" in model.question_prompts(asked)[0]


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"inputs": ["smell"]}, "model.inputs"),
        ({"train_inputs": []}, "model.train_inputs"),
        ({"input_shares": [1.0, 2.0]}, "model.inputs"),
        ({"input_shares": [0.0]}, "model.inputs"),
        ({"joint": {"arch": "point_bind", "model_type": "huge"}}, "model.joint.model_type"),
        ({"joint": {"arch": "nothing"}}, "nothing"),
    ],
)
def test_wrong_inputs_are_refused(make, options, key):
    with pytest.raises(ConfigError, match=key.replace(".", r"\.")):
        make(**options)


def test_a_joint_model_without_a_joint_space_is_refused(make, model_sections):
    section = model_sections["point_blip_llm"]
    with pytest.raises(ConfigError, match="JointEmbedder"):
        make(joint=section | {"arch": "point_blip_llm", "model_type": "bricks_smollm2"})


def test_the_cache_moves_evaluation_alone(make, batch, tmp_path):
    path = tmp_path / "cache.safetensors"
    path.write_bytes(as_safetensors(["a"] * 20, {"image": torch.randn(20, 32)}, make().space))
    plain, cached = make(), make(cache=str(path))
    assert torch.equal(cached.train()(batch)["loss"], plain.train()(batch)["loss"])
    cached.eval()
    assert not torch.equal(cached.mixed(batch, cached.inputs), plain.mixed(batch, plain.inputs))
    assert "cache.embeds" not in cached.state_dict()


def test_the_cache_of_another_space_or_a_damaged_one_is_refused(make, tmp_path):
    path = tmp_path / "cache.safetensors"
    path.write_bytes(as_safetensors(list("abc"), {"image": torch.randn(3, 32)}, "imagebind"))
    with pytest.raises(CheckpointError, match=r"another joint space[\s\S]*imagebind"):
        make(cache=str(path))
    path.write_bytes(b"none")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_cache(path, None, 10, 20.0, 0.5)
    with pytest.raises(ConfigError, match="empty"):
        VisualCache(torch.zeros(0, 32), "any")


def test_a_small_cache_uses_what_it_has():
    key = torch.nn.functional.normalize(torch.ones(1, 4), dim=-1)
    cache = VisualCache(key, "any", size=10, weight=1.0)
    torch.testing.assert_close(cache(torch.eye(4)[:2]), key.expand(2, 4))


def test_a_dialogue_repeats_its_turns():
    text = instruction_prompt("and its colour ?", turns=[("what is it ?", "a chair")])
    assert text.count("### Instruction:") == 2
    assert text.endswith("### Instruction:\nand its colour ?\n\n### Response:")
    assert "### Response: a chair\n" in text
    assert instruction_prompt("what ?", "plain", [("a ?", "b")]) == "a ? b\nwhat ?"


def checkpoint(model, path) -> str:
    torch.save({"model": trainable_state(model), "space": model.space}, path)
    return str(path)


def test_the_second_phase_starts_from_the_first_and_is_saved_beside_it(make, batch, tmp_path):
    first = make()
    open_gates(first)
    pretrained = checkpoint(first, tmp_path / "first.pth")
    second = make(phase="finetune", pretrained=pretrained)
    torch.testing.assert_close(second(batch)["loss"], first(batch)["loss"])
    trained = {name for name, p in second.named_parameters() if p.requires_grad}
    assert not any(name.startswith(FIRST_PHASE) for name in trained)
    with torch.no_grad():
        for parameter in second.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)
    finetuned = checkpoint(second, tmp_path / "second.pth")
    again = make(phase="finetune", pretrained=pretrained, finetuned=finetuned)
    assert torch.equal(again(batch)["loss"], second(batch)["loss"])


def test_the_second_phase_refuses_a_checkpoint_of_itself(make, tmp_path):
    pretrained = checkpoint(make(), tmp_path / "first.pth")
    second = checkpoint(make(phase="finetune", pretrained=pretrained), tmp_path / "second.pth")
    with pytest.raises(CheckpointError, match="phase pretrain"):
        make(phase="finetune", pretrained=second)
