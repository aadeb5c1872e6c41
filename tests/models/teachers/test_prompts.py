"""Learned words before a name: gradients through a frozen teacher, and equality with real words."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from lavis.common.errors import ConfigError
from lavis.models.teachers import SentenceTeacher, Teacher
from lavis.models.teachers.clip import ClipTeacher
from lavis.models.teachers.prompts import ContextPrompt

NAMES = ["bed", "floor lamp", "x ray"]
WORDS = "point cloud of a"


@pytest.fixture(scope="module")
def tiny_clip(tiny_bert, tmp_path_factory) -> str:
    """A tiny CLIP with a BERT's tokenizer."""
    from transformers import CLIPConfig, CLIPModel

    folder = tmp_path_factory.mktemp("prompt_clip")
    for file in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        shutil.copy(Path(tiny_bert) / file, folder)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    sizes |= {"num_attention_heads": 2}
    text = sizes | {"vocab_size": 30522, "max_position_embeddings": 12, "eos_token_id": 102}
    vision = sizes | {"image_size": 8, "patch_size": 4}
    torch.manual_seed(0)
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
    CLIPModel(config).save_pretrained(folder)
    return f"clip:{folder}"


@pytest.fixture(params=["sentence", "clip"])
def teacher(request, tiny_bert, tiny_clip) -> Teacher:
    """One teacher of each kind."""
    return SentenceTeacher(tiny_bert) if request.param == "sentence" else ClipTeacher(tiny_clip)


def test_a_fresh_prompt_equals_its_words(teacher):
    learned = ContextPrompt(teacher, WORDS)(teacher, NAMES)
    torch.testing.assert_close(learned, teacher([f"{WORDS} {name}" for name in NAMES]))


def test_gradients_reach_the_learned_words_alone(teacher):
    prompt = ContextPrompt(teacher, WORDS)
    assert prompt.context.shape[0] == 4
    prompt(teacher, NAMES)[:, 0].sum().backward()
    assert prompt.context.grad.abs().sum(1).gt(0).all()
    assert all(p.grad is None for p in teacher.parameters())


def test_a_trained_prompt_leaves_plain_texts_as_they_are(teacher):
    before = teacher.encode(["bed"])
    prompt = ContextPrompt(teacher, "a")
    prompt.context.data += 1.0
    moved = prompt(teacher, ["bed"])
    assert not torch.allclose(moved, teacher.encode(["a bed"]))
    assert torch.equal(teacher.encode(["bed"]), before)


@pytest.mark.parametrize("words", ["", "  "])
def test_a_prompt_without_words_is_refused(tiny_bert, words):
    with pytest.raises(ConfigError, match=r"model\.prompt"):
        ContextPrompt(SentenceTeacher(tiny_bert), words)


def test_a_teacher_that_cannot_read_learned_words_is_refused():
    with pytest.raises(ConfigError, match="learned prompts"):
        ContextPrompt(Teacher(), WORDS)
