"""Sentences: states of words, scenes that are encoded once, the points that are meant."""

from __future__ import annotations

import pytest
import torch

from lavis.common.errors import DataError
from lavis.models.teachers import Teacher
from lavis.models.text4point_models.sentences import (
    distinct_scenes,
    meant_points,
    sentence_words,
)


class Plain(Teacher):
    """Embeds texts as a whole."""

    embed_dim = 4

    def encode(self, inputs):
        return torch.ones(len(inputs), 4)


def test_a_teacher_without_states_of_words_gives_one_state():
    states, real = sentence_words(Plain(), ["a", "b c"])
    assert states.shape == (2, 1, 4)
    assert real.tolist() == [[True], [True]]


def test_an_empty_sentence_is_refused():
    with pytest.raises(DataError, match=r"items \[1\]"):
        sentence_words(Plain(), ["a", " "])


def test_other_points_of_one_object_are_another_scene(rooms):
    clouds = rooms["point_cloud"][[0, 0, 1]].clone()
    clouds[1, 0] += 1
    batch = {"point_cloud": clouds, "object_id": ["a", "a", "b"], "text_input": ["x", "y", "z"]}
    scenes, scene_of = distinct_scenes(batch)
    assert len(scenes["point_cloud"]) == 3
    assert scene_of.tolist() == [0, 1, 2]


def test_meant_points_are_those_of_the_target(rooms):
    meant = meant_points(rooms, torch.device("cpu"))
    assert meant.sum(1).tolist() == [20, 20]
    for row in range(2):
        target = int(rooms["target_instance"][row])
        assert torch.equal(meant[row], rooms["instance_label"][row] == target)
