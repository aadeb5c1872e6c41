"""Trivial captioners."""

import numpy as np
import pytest

from lavis.common.errors import EvaluationError
from lavis.evaluation.baselines import (
    nearest_neighbour_captions,
    nearest_neighbour_indices,
    random_captions,
)


def test_nearest_neighbour_copies_the_caption_of_the_closest_object():
    train = np.array([[1.0, 0.0], [0.0, 5.0], [-1.0, 0.0]])
    test = np.array([[0.1, 0.2], [3.0, 0.1]])
    captions = nearest_neighbour_captions(train, ["brick", ["gear", "cog"], "tile"], test)
    assert captions == ["gear", "brick"]


@pytest.mark.parametrize("shape", [(8,), (4, 8)])
def test_blocks_do_not_change_the_neighbours(shape):
    generator = np.random.default_rng(0)
    train, test = generator.standard_normal((30, *shape)), generator.standard_normal((11, *shape))
    unit = [a / np.linalg.norm(a, axis=-1, keepdims=True) for a in (train, test)]
    slow = np.einsum("ni,mi->mn", *(a.reshape(len(a), -1) for a in unit)).argmax(axis=1)
    np.testing.assert_array_equal(nearest_neighbour_indices(train, test, block=4), slow)


def test_random_captions_are_seeded_training_captions():
    train = [f"caption {k}" for k in range(50)]
    first = random_captions(train, 20, seed=1)
    assert first == random_captions(train, 20, seed=1) != random_captions(train, 20, seed=2)
    assert set(first) <= set(train)


def test_bad_embeddings_and_empty_training_data_are_refused():
    ones = np.ones((2, 3))
    with pytest.raises(EvaluationError, match=r"rows \[1\]"):
        nearest_neighbour_indices(np.array([[1.0, 0.0], [0.0, 0.0]]), np.ones((1, 2)))
    with pytest.raises(EvaluationError, match="cannot be compared"):
        nearest_neighbour_indices(ones, np.ones((1, 2)))
    with pytest.raises(EvaluationError, match="1 captions"):
        nearest_neighbour_captions(ones, ["one"], ones)
    with pytest.raises(EvaluationError):
        random_captions([], 1)
