"""Retrieval: brute-force equality, several positives, ties, streaming, chance, bad input."""

import itertools

import numpy as np
import pytest

from lavis.common.errors import EvaluationError
from lavis.evaluation.baselines import chance_recall, chance_retrieval
from lavis.evaluation.retrieval import retrieval_scores, streamed_retrieval_scores
from lavis.evaluation.search import max_similarity


def slow_rank_and_precision(scores, positives):
    """Sort by score with every negative before an equal positive, then read the list off."""
    order = sorted(range(len(scores)), key=lambda g: (-scores[g], g in positives))
    found = [place for place, g in enumerate(order, 1) if g in positives]
    precision = [k / place for k, place in enumerate(found, 1)]
    return found[0], sum(precision) / len(precision)


@pytest.mark.parametrize("levels", [3, 1000])
@pytest.mark.parametrize("most", [1, 3, 12])
def test_ranks_and_precision_equal_brute_force(levels, most):
    generator = np.random.default_rng(levels + most)
    similarity = generator.integers(0, levels, size=(40, 30)) / levels
    positives = [
        generator.choice(30, size=generator.integers(1, most + 1), replace=False).tolist()
        for _ in range(40)
    ]
    scores = retrieval_scores(similarity, positives)
    slow = [slow_rank_and_precision(s, set(p)) for s, p in zip(similarity, positives, strict=True)]
    assert scores.ranks.tolist() == [rank for rank, _ in slow]
    np.testing.assert_allclose(scores.average_precision, [ap for _, ap in slow], atol=1e-12)
    assert scores.values["recall_at_5"] == np.mean([rank <= 5 for rank, _ in slow])
    assert scores.values["median_rank"] == np.median([rank for rank, _ in slow])


def test_perfect_similarity_scores_the_maximum():
    values = retrieval_scores(np.eye(12), [[k] for k in range(12)]).values
    assert values["recall_at_1"] == values["mean_average_precision"] == 1.0
    assert values["median_rank"] == values["mean_rank"] == 1.0


def test_a_collapsed_model_gets_the_worst_rank():
    scores = retrieval_scores(np.zeros((4, 9)), [[0], [1], [2, 3], [8]])
    assert scores.ranks.tolist() == [9, 9, 8, 9]


def test_the_best_positive_counts_and_repeated_positives_do_not():
    similarity = np.array([[0.1, 0.9, 0.5, 0.3]])
    assert retrieval_scores(similarity, [[0, 2]]).ranks.tolist() == [2]
    once, twice = (retrieval_scores(similarity, [p]).values for p in ([0, 2], [2, 0, 2]))
    assert once == twice


def test_permuting_queries_and_gallery_changes_nothing():
    generator = np.random.default_rng(0)
    similarity = generator.standard_normal((20, 15))
    positives = [[k % 15, (3 * k) % 15] for k in range(20)]
    rows, columns = generator.permutation(20), generator.permutation(15)
    moved = np.argsort(columns)
    permuted = retrieval_scores(
        similarity[rows][:, columns], [[moved[g] for g in positives[q]] for q in rows]
    )
    first = retrieval_scores(similarity, positives)
    assert permuted.values == pytest.approx(first.values, abs=1e-12)
    intervals = first.metrics(n_resamples=50)
    for name, entry in permuted.metrics(n_resamples=50).items():
        assert entry["ci95"] == pytest.approx(intervals[name]["ci95"], abs=1e-12)


@pytest.mark.parametrize(
    ("query_shape", "gallery_shape", "products"),
    [((23, 8), (17, 4, 8), "ne,mqe->nmq"), ((23, 4, 8), (17, 8), "nqe,me->nmq")],
)
def test_streaming_equals_the_full_matrix(query_shape, gallery_shape, products, tmp_path):
    generator = np.random.default_rng(1)
    queries = generator.standard_normal(query_shape).astype(np.float32)
    gallery = generator.standard_normal(gallery_shape).astype(np.float32)
    full = np.einsum(products, queries, gallery).max(axis=2)
    np.testing.assert_allclose(max_similarity(queries, gallery), full, rtol=1e-5, atol=1e-5)
    positives = [[k % 17] for k in range(23)]
    np.save(tmp_path / "gallery.npy", gallery)
    mapped = np.load(tmp_path / "gallery.npy", mmap_mode="r")
    streamed = streamed_retrieval_scores(
        queries, mapped, positives, query_block=5, gallery_block=3, top_k=4
    )
    whole = retrieval_scores(full, positives, top_k=4)
    np.testing.assert_array_equal(streamed.ranks, whole.ranks)
    np.testing.assert_array_equal(streamed.top_indices, whole.top_indices)
    assert streamed.values == whole.values


def test_object_to_object_takes_the_best_pair_of_tokens():
    generator = np.random.default_rng(2)
    first, second = generator.standard_normal((5, 3, 6)), generator.standard_normal((4, 3, 6))
    full = np.einsum("nqe,mpe->nmqp", first, second).max(axis=(2, 3))
    positives = [[0], [1], [2], [3], [0]]
    streamed = streamed_retrieval_scores(first, second, positives, gallery_block=2)
    assert streamed.values == retrieval_scores(full, positives).values


def test_half_precision_embeddings_are_multiplied_in_float32():
    embeds = np.ones((2, 4096), dtype=np.float16)
    assert max_similarity(embeds, embeds).dtype == np.float32


def test_chance_equals_all_rankings_counted_one_by_one():
    n_gallery, n_positives = 6, [1, 2, 4]
    expected = {"recall_at_1": [], "recall_at_5": [], "mean_rank": [], "mean_average_precision": []}
    for count in n_positives:
        rows = np.array(list(itertools.permutations(range(n_gallery))), dtype=float)
        scores = retrieval_scores(rows, [list(range(count))] * len(rows))
        for name, values in expected.items():
            values.append(scores.values[name])
    chance = chance_retrieval(n_positives, n_gallery)
    for name, values in expected.items():
        assert chance[name] == pytest.approx(np.mean(values), abs=1e-12)


def test_chance_of_one_positive_is_k_over_gallery():
    assert chance_recall([1, 1], 200, 5) == pytest.approx(5 / 200)
    assert chance_recall([1], 3, 10) == 1.0
    assert chance_retrieval([1] * 7, 101)["median_rank"] == 51


@pytest.mark.parametrize(
    ("similarity", "positives", "named"),
    [
        ([[0.0, np.nan], [1, 2]], [[0], [1]], "query-a"),
        ([[0.0, 1.0], [np.inf, 2]], [[0], [1]], "query-b"),
        (np.eye(2), [[0], []], "query-b"),
        (np.eye(2), [[0], [2]], "query-b"),
        (np.eye(2), [[-1], [0]], "query-a"),
        (np.eye(2), [[0]], "1 lists of positives"),
        (np.eye(3), [[0], [1], [2]], "2 query ids"),
        (np.zeros(3), [[0]], "two axes"),
        (np.zeros((0, 3)), [], "0 queries"),
    ],
)
def test_bad_input_is_refused_by_name(similarity, positives, named):
    with pytest.raises(EvaluationError, match=named):
        retrieval_scores(np.array(similarity), positives, query_ids=["query-a", "query-b"])


def test_embeddings_that_disagree_are_refused():
    with pytest.raises(EvaluationError, match=r"\(3, 8\).*\(2, 4, 9\)"):
        streamed_retrieval_scores(np.zeros((3, 8)), np.zeros((2, 4, 9)), [[0]] * 3)
    with pytest.raises(EvaluationError, match="chance needs"):
        chance_recall([0], 5, 1)


def test_an_object_never_finds_itself():
    generator = np.random.default_rng(3)
    embeds = generator.standard_normal((9, 3, 6))
    positives = [[(k + 3) % 9, (k + 6) % 9] for k in range(9)]
    scores = streamed_retrieval_scores(
        embeds, embeds, positives, own_index=range(9), top_k=8, query_block=4
    )
    full = np.einsum("nqe,mpe->nmqp", embeds, embeds).max(axis=(2, 3))
    for query in range(9):
        others = np.delete(full[query], query)
        moved = [p - (p > query) for p in positives[query]]
        alone = retrieval_scores(others[None], [moved])
        assert scores.ranks[query] == alone.ranks[0]
        assert scores.average_precision[query] == pytest.approx(alone.average_precision[0])
        assert query not in scores.top_indices[query]
    assert scores.n_gallery == 8
    with pytest.raises(EvaluationError, match="themselves"):
        streamed_retrieval_scores(embeds, embeds, [[k] for k in range(9)], own_index=range(9))
