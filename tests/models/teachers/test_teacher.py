"""Teachers are frozen, remember a bounded number of inputs, and share a space."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from lavis.common.errors import ConfigError
from lavis.models.teachers import SentenceTeacher, Teacher, check_spaces


class Counting(Teacher):
    """Embeds numbers and notes which it had to embed."""

    modality, embed_dim, space = "text", 2, "numbers"

    def __init__(self, cache_size):
        super().__init__(cache_size)
        self.layer = torch.nn.Linear(1, 2).requires_grad_(False)
        self.encoded: list[int] = []

    def encode(self, inputs):
        self.encoded += inputs
        return F.normalize(self.layer(torch.tensor(inputs, dtype=torch.float32)[:, None]), dim=-1)


def test_an_input_is_embedded_once():
    teacher = Counting(10)
    first = teacher([1, 2, 1])
    assert teacher.encoded == [1, 2]
    assert torch.equal(first[0], first[2])
    assert torch.equal(teacher([2, 1]), first[[1, 0]])
    assert teacher.encoded == [1, 2]


def test_the_least_recently_used_goes_first():
    teacher = Counting(2)
    teacher([1, 2])
    teacher([1])
    teacher([3])  # drops 2
    teacher([1, 3])
    assert teacher.encoded == [1, 2, 3]
    teacher([2])
    assert teacher.encoded == [1, 2, 3, 2]


def test_a_batch_larger_than_the_cache_is_whole():
    teacher = Counting(2)
    assert torch.equal(teacher([1, 2, 3, 4]), Counting.encode(teacher, [1, 2, 3, 4]))
    assert len(teacher._cache) == 2


def test_without_a_cache_every_call_embeds():
    teacher = Counting(0)
    teacher([1])
    teacher([1])
    assert teacher.encoded == [1, 1]


def test_teachers_of_one_model_share_a_space():
    one, other = Counting(0), Counting(0)
    assert check_spaces([one, other], "model.teachers") == "numbers"
    other.space, other.modality = "openclip/ViT-B-32", "image"
    with pytest.raises(ConfigError, match=r"image: openclip/ViT-B-32"):
        check_spaces([one, other], "model.teachers")


def test_sentence_teacher_is_frozen_and_unit(tiny_bert):
    teacher = SentenceTeacher(tiny_bert).train()
    embeds = teacher(["a brick", "a plate"])
    assert not teacher.training
    assert not any(p.requires_grad for p in teacher.parameters())
    torch.testing.assert_close(embeds.norm(dim=-1), torch.ones(2))
    assert embeds.shape == (2, teacher.embed_dim)
    assert not embeds.requires_grad


def test_a_folder_is_the_same_space_wherever_it_lies(tiny_bert, tmp_path):
    copied = shutil.copytree(tiny_bert, tmp_path / Path(tiny_bert).name)
    assert SentenceTeacher(str(copied)).space == SentenceTeacher(tiny_bert).space
    assert SentenceTeacher(f"{tiny_bert}@cls").space != SentenceTeacher(tiny_bert).space
    weights = copied / "model.safetensors"
    state = load_file(weights)
    state["embeddings.word_embeddings.weight"][0, 0] += 1
    save_file(state, weights, metadata={"format": "pt"})
    assert SentenceTeacher(str(copied)).space != SentenceTeacher(tiny_bert).space
