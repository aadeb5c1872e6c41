"""Groups of moved points: by class, by touching cells, scores, and scenes without any."""

from __future__ import annotations

import numpy as np
import pytest

from lavis.models.text4point_models.clustering import group_points, touching_groups

THINGS = np.array([False, True, True])  # a wall, a chair, a table


def one_hot(labels: list[int], share: float = 0.8) -> np.ndarray:
    """Return probabilities [N,3] with `share` on the labels."""
    probability = np.full((len(labels), 3), (1 - share) / 2)
    probability[np.arange(len(labels)), labels] = share
    return probability


def blob(centre: tuple[float, float, float], count: int, seed: int = 0) -> np.ndarray:
    """Return points within 2 cm of a centre."""
    return np.array(centre) + np.random.default_rng(seed).uniform(-0.02, 0.02, (count, 3))


def grouped(moved: np.ndarray, probability: np.ndarray, cell: float, least: int, most: float = 0.7):
    """Return the groups of points that were not moved."""
    return group_points(moved, moved, probability, THINGS, cell, least, most)


def test_two_chairs_and_a_table_at_one_place_are_three_instances():
    moved = np.concatenate([blob((0, 0, 0), 30), blob((1, 0, 0), 20, 1), blob((1, 0, 0), 25, 2)])
    xyz = np.concatenate([blob((0, 0, 0), 30), blob((1, 0, 0), 20, 1), blob((2, 0, 0), 25, 2)])
    labels = [1] * 30 + [1] * 20 + [2] * 25
    found = group_points(xyz, moved, one_hot(labels), THINGS, 0.1, 5, 0.7)
    sizes = sorted(zip(found.labels.tolist(), found.masks.sum(1).tolist()))
    assert sizes == [(1, 20), (1, 30), (2, 25)]
    assert (found.masks.sum(0) == 1).all()


def test_an_object_that_was_labelled_in_parts_is_whole_among_groups_of_any_class():
    xyz = blob((0, 0, 0), 40)
    found = grouped(xyz, one_hot([1] * 24 + [2] * 16), 0.1, 5)
    assert found.masks.sum(1).tolist() == [24, 16, 40]
    assert found.labels.tolist() == [1, 2, 1]
    assert grouped(xyz, one_hot([1] * 24 + [2] * 16), 0.1, 5, 0.5).masks.sum(1).tolist() == [24, 16]


def test_of_two_groups_that_overlap_the_better_one_stays():
    xyz = blob((0, 0, 0), 40)
    probability = np.concatenate([one_hot([1] * 36, 0.9), one_hot([2] * 4, 0.6)])
    found = grouped(xyz, probability, 0.1, 5)
    assert found.masks.sum(1).tolist() == [36]  # of all 40, 0.83 on average
    assert found.scores == pytest.approx([0.9])


@pytest.mark.parametrize(("gap", "groups"), [(0.05, 1), (0.5, 2)])
def test_blobs_are_one_group_where_their_cells_touch(gap, groups):
    xyz = np.concatenate([blob((0, 0, 0), 10), blob((gap, 0, 0), 10)])
    assert len(set(touching_groups(xyz, np.ones(20, dtype=int), 0.1))) == groups


def test_the_best_instance_comes_first_and_its_score_is_the_mean_probability():
    moved = np.concatenate([blob((0, 0, 0), 10), blob((1, 0, 0), 10)])
    probability = np.concatenate([one_hot([1] * 10, 0.6), one_hot([2] * 10, 0.9)])
    found = grouped(moved, probability, 0.1, 1)
    assert found.labels.tolist() == [2, 1]
    np.testing.assert_allclose(found.scores, [0.9, 0.6], rtol=1e-6)


@pytest.mark.parametrize(("labels", "least"), [([0] * 8, 1), ([1] * 8, 9), ([], 1)])
def test_surfaces_small_groups_and_empty_scenes_give_no_instances(labels, least):
    found = grouped(blob((0, 0, 0), len(labels)), one_hot(labels), 0.1, least)
    assert found.masks.shape == (0, len(labels))
    assert len(found.labels) == len(found.scores) == 0


def test_groups_equal_those_of_a_plain_search():
    generator = np.random.default_rng(3)
    xyz, label = generator.uniform(0, 1.5, (120, 3)), generator.integers(0, 2, 120)
    cell = 0.15
    place = np.floor(xyz / cell)
    near = np.abs(place[:, None] - place[None]).max(-1) <= 1
    near &= label[:, None] == label[None]
    expected = np.arange(120)
    for _ in range(120):  # labels spread until nothing changes
        expected = np.where(near, expected[None], 120).min(1)
    found = touching_groups(xyz, label, cell)
    pairs = set(zip(expected.tolist(), found.tolist()))
    assert len(pairs) == len(set(expected)) == len(set(found))
