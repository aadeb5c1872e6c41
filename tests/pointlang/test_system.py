"""Systems answer by the abilities of their models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lavis.common.errors import ConfigError, DataError
from pointlang.objects import read_objects
from pointlang.system import System, nearness


def test_abilities_are_those_of_all_models(system: System, writer: System) -> None:
    assert system.abilities == ("caption", "ask", "classify", "embed", "retrieve")
    assert writer.abilities == ("caption", "ask")


def test_one_object_or_several_of_any_kind(system: System, files: Path) -> None:
    (red,) = read_objects([files / "red.npy"])
    array = np.random.default_rng(0).random((40, 3))
    assert system.caption(files / "red.npy") == ["32 points, size False"]
    assert system.caption([str(files / "red.npy"), red, array]) == ["32 points, size False"] * 3
    assert system.caption([]) == []
    system.known_size = True
    assert system.caption(red) == ["32 points, size True"]


def test_more_objects_than_a_batch_keep_their_order(system: System, files: Path) -> None:
    red, green = read_objects([files / "red.npy", files / "green.npy"])
    embeds = system.embed([red, *[green] * 20])
    assert embeds.shape == (21, 3)
    assert embeds[0].argmax() == 0
    assert (embeds[1:].argmax(1) == 1).all()


def test_questions_carry_the_earlier_turns(system: System, files: Path) -> None:
    assert system.ask(files / "red.npy", " What? ") == "[What?]"
    turns = [("What?", "A box.")]
    expected = "[What? Answer: A box. Question: Why?]"
    assert system.ask(files / "red.npy", "Why?", turns) == expected
    with pytest.raises(DataError, match="question is empty"):
        system.ask(files / "red.npy", "  ")


def test_own_labels_with_probabilities(system: System, files: Path) -> None:
    (row,) = system.classify(files / "green.npy", ["red", "green", "green"])
    assert list(row) == ["green", "red"]
    assert sum(row.values()) == pytest.approx(1)
    for labels in ([], ["red"], ["red", " "]):
        with pytest.raises(DataError, match="Labels are missing"):
            system.classify(files / "green.npy", labels)


def test_search_by_text_and_by_cloud(system: System, files: Path) -> None:
    gallery = system.gallery([files / "red.npy", files / "green.npy"])
    assert system.retrieve("a green thing", gallery)[0][0].endswith("green.npy")
    assert system.retrieve(files / "red.npy", gallery, top=1)[0][1] == pytest.approx(1)
    with pytest.raises(ConfigError, match="cannot search by a picture"):
        system.retrieve(Path("view.png"), gallery)


def test_of_several_embeddings_the_nearest_pair_counts() -> None:
    gallery = torch.eye(4).reshape(2, 2, 4)
    assert nearness(gallery, torch.tensor([[0.0, 0, 3, 0]])).tolist() == [0, 1]
    assert nearness(gallery, torch.eye(4)[None, 1:3]).tolist() == [1, 1]


@pytest.mark.parametrize("ability", ["classify", "embed", "retrieve", "segment"])
def test_a_missing_ability_names_what_the_system_can(writer: System, ability: str) -> None:
    with pytest.raises(ConfigError, match="it can: caption, ask"):
        writer.require(ability)
