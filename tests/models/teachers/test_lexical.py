"""Hashed tf-idf: equal to counting words, and what is rare or unknown."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from lavis.common.errors import ConfigError
from lavis.models.teachers.lexical import LexicalTeacher

TEXTS = ["Plate 2 x 4", "plate 2 x 3", "brick 2 x 4", "slope"]


@pytest.fixture
def teacher() -> LexicalTeacher:
    teacher = LexicalTeacher()
    teacher.fit(TEXTS)
    return teacher


def ngrams(text: str) -> set[str]:
    words = text.lower().split()
    pairs = {" ".join(pair) for pair in pairwise(words)}
    return set(words) | pairs | {" ".join(words[i : i + 3]) for i in range(len(words) - 2)}


def cosine(a: str, b: str) -> float:
    counts = {g: sum(g in ngrams(t) for t in TEXTS) for t in TEXTS for g in ngrams(t)}
    rarity = {g: 1 + math.log(5 / (1 + n)) if n > 1 else 0 for g, n in counts.items()}

    def dot(x: str, y: str) -> float:
        return sum(rarity.get(g, 0) ** 2 for g in ngrams(x) & ngrams(y))

    return dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))


def test_cosines_are_those_of_weighted_common_words(teacher):
    one, two, three, _ = teacher(TEXTS)
    assert one @ one == pytest.approx(1, abs=1e-6)
    assert one @ two == pytest.approx(cosine(TEXTS[0], TEXTS[1]), abs=1e-6)
    assert one @ three == pytest.approx(cosine(TEXTS[0], TEXTS[2]), abs=1e-6)
    assert one @ two < 0.9  # other numbers are other words


def test_a_text_without_a_known_word_is_zero(teacher):
    assert not teacher(["slope", "zeppelin"]).any()  # one text has it, and none
    assert not teacher.encode_sparse(["slope"]).to_dense().any()


def test_a_checkpoint_brings_the_rarities(teacher):
    other = LexicalTeacher()
    other.load_state_dict(teacher.state_dict())
    assert torch.equal(other(TEXTS), teacher(TEXTS))


def test_texts_without_a_common_word_are_refused():
    with pytest.raises(ConfigError, match="no two training texts"):
        LexicalTeacher().fit(["slope", "plate"])
