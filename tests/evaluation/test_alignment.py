"""Figures of alignment: the release's numbers, plain recomputation, intervals and changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lavis.common.errors import EvaluationError
from lavis.evaluation.alignment import (
    PairedSets,
    bootstrap_weights,
    changes,
    pairwise_distances,
    published_metrics,
)


def wave(*shape: int, phase: float) -> np.ndarray:
    """A fixed array that needs no random generator."""
    i = np.arange(np.prod(shape), dtype=np.float64)
    return np.sin(0.7 * i + phase + 0.003 * i * i).astype(np.float32).reshape(shape)


def test_figures_equal_those_of_the_release():
    # Written by compute_alignment_metrics of the release (src/visualize_tsne.py, 16eca1f).
    expected = {
        "centroid_distance": 0.9631377092507031,
        "avg_pairwise_distance": 6.895066659208814,
        "min_pairwise_distance": 4.4298542462577215,
        "avg_cosine_similarity": 0.007362935672423901,
        "max_cosine_similarity": 0.9511556953868558,
        "point_variance": 4.3583666168507404,
        "text_variance": 0.4871622021810711,
    }
    points = wave(7, 10, phase=6.0).astype(np.float64) * 3
    assert published_metrics(points, wave(9, 10, phase=7.0)) == pytest.approx(expected, abs=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 9), st.integers(1, 5), st.integers(0, 1000))
def test_paired_figures_equal_the_release_s_on_the_same_sets(size, width, seed):
    generator = np.random.default_rng(seed)
    points, texts = generator.normal(size=(2, size, width))
    pairs, expected = PairedSets(points, texts), published_metrics(points, texts)
    found = pairs.metrics(n_resamples=10)
    for name, value in expected.items():
        assert found[name]["value"] == pytest.approx(value, abs=1e-6), name


def test_a_resample_equals_the_figures_of_the_drawn_objects():
    points, texts = wave(6, 4, phase=1.0), wave(6, 4, phase=2.0)
    counts = np.array([2, 0, 1, 0, 3, 0])
    drawn = np.repeat(np.arange(6), counts)
    expected = published_metrics(points[drawn], texts[drawn])
    found = PairedSets(points, texts).figures(counts[None] / 6)
    for name in ("centroid_distance", "avg_pairwise_distance", "avg_cosine_similarity"):
        assert found[name][0] == pytest.approx(expected[name], abs=1e-6)
    assert found["point_variance"][0] == pytest.approx(expected["point_variance"], abs=1e-6)


def test_distances_equal_a_plain_loop():
    a, b = wave(3, 5, phase=0.0), wave(4, 5, phase=1.0)
    plain = [[np.linalg.norm(x.astype(float) - y.astype(float)) for y in b] for x in a]
    np.testing.assert_allclose(pairwise_distances(a, b), plain, atol=1e-6)


def test_objects_at_their_texts_are_perfect_and_shuffled_ones_are_not():
    texts = np.eye(8)
    perfect = PairedSets(texts, texts).plain()
    assert perfect["nearest_text_accuracy"] == perfect["object_to_text/recall_at_1"] == 1.0
    assert perfect["centroid_distance"] == pytest.approx(0.0, abs=1e-12)
    shuffled = PairedSets(np.roll(texts, 1, axis=0), texts).plain()
    assert shuffled["nearest_text_accuracy"] == shuffled["text_to_object/recall_at_1"] == 0.0


def test_equal_texts_are_equally_right():
    texts = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    points = np.array([[1.0, 0.1], [1.0, 0.0], [0.0, 1.0]])
    assert PairedSets(points, texts, ["a", "a", "b"]).plain()["nearest_text_accuracy"] == 1.0


def test_the_best_of_several_embeddings_decides_similarity():
    texts = np.eye(4)
    queries = np.stack([texts, -texts], axis=1)  # [4,2,4]: the mean of both says nothing
    assert PairedSets(queries, texts).plain()["object_to_text/recall_at_1"] == 1.0


def test_chance_is_the_expected_recall_of_a_random_order():
    chance = PairedSets(np.eye(20), np.eye(20)).chance()
    assert chance["nearest_text_accuracy"] == pytest.approx(1 / 20)
    assert chance["text_to_object/recall_at_10"] == pytest.approx(0.5)


def test_changes_are_paired():
    points, texts = wave(50, 6, phase=0.0), wave(50, 6, phase=3.0)
    before, after = PairedSets(points, texts), PairedSets(0.9 * points + 0.1 * texts, texts)
    change = changes(before, after, n_resamples=200)["centroid_distance"]
    assert change["ci95"][1] < 0
    same = changes(before, before, n_resamples=20)
    assert all(entry == {"value": 0.0, "ci95": [0.0, 0.0]} for entry in same.values())


def test_intervals_follow_the_seed_and_hold_the_value():
    pairs = PairedSets(wave(30, 5, phase=0.0), wave(30, 5, phase=1.0))
    first, again = pairs.metrics(100, seed=1), pairs.metrics(100, seed=1)
    assert first == again
    assert first != pairs.metrics(100, seed=2)
    for entry in first.values():
        if entry["ci95"] is not None:
            assert entry["ci95"][0] <= entry["value"] <= entry["ci95"][1]


def test_bootstrap_weights_are_counts_of_draws():
    weights = bootstrap_weights(7, 5, seed=0)
    np.testing.assert_allclose(weights.sum(1), 1.0)
    np.testing.assert_allclose(weights * 7, np.round(weights * 7), atol=1e-9)


@pytest.mark.parametrize(
    ("points", "texts"),
    [
        (np.ones((2, 3)), np.ones((3, 3))),
        (np.ones((2, 3)), np.ones((2, 4))),
        (np.full((2, 3), np.nan), np.ones((2, 3))),
        (np.ones((0, 3)), np.ones((0, 3))),
    ],
)
def test_sets_that_cannot_be_compared_are_refused(points, texts):
    with pytest.raises(EvaluationError):
        PairedSets(points, texts)


NAMES = ["a", "b", "a", "c", "d", "b", "e"]
COLORS = ["red", "red", "red", "blue", "blue", "red", "green"]


def similar(points: np.ndarray, texts: np.ndarray) -> list[list[float]]:
    """Cosines by a plain loop."""
    return [[float(p @ t / np.linalg.norm(p) / np.linalg.norm(t)) for t in texts] for p in points]


@pytest.fixture
def grouped() -> tuple[PairedSets, list[list[float]]]:
    """Seven objects in three colours, some texts equal; the plain cosines beside."""
    points = wave(7, 5, phase=1.0).astype(np.float64)
    texts = np.stack([wave(5, phase=float(ord(name))) for name in NAMES]).astype(np.float64)
    return PairedSets(points, texts, NAMES, {"color": COLORS}), similar(points, texts)


def test_margin_equals_a_plain_loop_over_the_texts_that_differ(grouped):
    pairs, cosines = grouped
    expected = []
    for i, name in enumerate(NAMES):
        others = [cosines[i][j] for j in range(7) if NAMES[j] != name]
        expected.append(cosines[i][i] - sum(others) / len(others))
    np.testing.assert_allclose(pairs.per_object["margin"], expected, atol=1e-12)
    assert pairs.plain()["margin"] == pytest.approx(sum(expected) / 7)


def test_recall_within_the_color_equals_a_plain_loop(grouped):
    pairs, cosines = grouped
    hits, chances = [], []
    for i in range(7):
        gallery = [j for j in range(7) if COLORS[j] == COLORS[i]]
        right = [j for j in gallery if NAMES[j] == NAMES[i]]
        wrong = [cosines[i][j] for j in gallery if j not in right]
        hits.append(float(all(max(cosines[i][j] for j in right) > w for w in wrong)))
        chances.append(len(right) / len(gallery))
    found = pairs.per_object["within_color/recall_at_1"]
    assert found.tolist() == hits
    assert 0 < sum(hits) < 7
    assert pairs.chance()["within_color/recall_at_1"] == pytest.approx(sum(chances) / 7)
    assert pairs.plain()["within_color/recall_at_1"] == pytest.approx(sum(hits) / 7)


def test_a_tie_within_the_color_counts_against_the_object():
    same = np.ones((2, 3))
    pairs = PairedSets(same, same, ["a", "b"], {"color": ["red", "red"]})
    assert pairs.plain()["within_color/recall_at_1"] == 0.0


def test_knowing_the_color_alone_gives_no_recall_within_the_color():
    colors = ["red", "blue"] * 10
    points = np.array([[1.0, 0.0] if color == "red" else [0.0, 1.0] for color in colors])
    texts = points + 0.1 * np.random.default_rng(0).normal(size=points.shape)
    figures = PairedSets(points, texts, None, {"color": colors})
    assert figures.plain()["within_color/recall_at_1"] == pytest.approx(
        figures.chance()["within_color/recall_at_1"]
    )


def test_the_mean_margin_over_all_pairings_is_zero():
    points, texts = wave(6, 4, phase=1.0), wave(6, 4, phase=2.0)
    shifted = [PairedSets(points, np.roll(texts, k, axis=0)).plain()["margin"] for k in range(6)]
    assert max(map(abs, shifted)) > 1e-3
    assert np.mean(shifted) == pytest.approx(0.0, abs=1e-12)


def test_objects_with_one_text_have_no_margin():
    pairs = PairedSets(wave(3, 4, phase=1.0), wave(3, 4, phase=2.0), ["a", "a", "a"])
    assert "margin" not in pairs.plain()
