"""Similarities without embeddings, and recalls with ties."""

from __future__ import annotations

import numpy as np
import pytest

from lavis.evaluation.baselines import chance_retrieval
from lavis.evaluation.baselines.expected_recalls import expected_recalls, recall_scores
from lavis.evaluation.baselines.pool import pool_of
from lavis.evaluation.baselines.retrieval import retrieval_baselines
from lavis.evaluation.retrieval import retrieval_scores

PLAIN = ["brick 2 x 6", "ball"]
COLORED = ["an orange brick 2 x 6", "a red ball"]


def test_texts_without_colours_have_no_colour_baseline(toys):
    found = retrieval_baselines(pool_of(toys.dataset(), toys.ASKED), toys.ASKED, PLAIN)
    assert set(found) == {"tfidf_lookup", "lookup_and_forest"}
    assert found["lookup_and_forest"].argmax(axis=1).tolist() == [0, 1]
    assert found["lookup_and_forest"].argmax(axis=0).tolist() == [0, 1]


def test_coloured_texts_are_found_by_their_colour(toys):
    found = retrieval_baselines(
        pool_of(toys.dataset(), toys.ASKED), toys.ASKED, COLORED, "colored_caption"
    )
    np.testing.assert_array_equal(found["colour_only"], np.eye(2))
    assert {"colour_and_category", "tfidf_lookup", "lookup_and_forest"} < set(found)
    repeated = retrieval_baselines(
        pool_of(toys.dataset(), toys.ASKED),
        [*toys.ASKED, toys.ASKED[0]],
        COLORED,
        "colored_caption",
    )
    np.testing.assert_array_equal(repeated["colour_only"][2], [1, 0])


def test_without_training_objects_there_is_none(toys):
    assert retrieval_baselines(pool_of(toys.dataset([]), toys.ASKED), toys.ASKED, PLAIN) == {}


def test_size_in_the_text_picks_the_object(toys):
    found = retrieval_baselines(
        pool_of(toys.dataset(), toys.ASKED), toys.ASKED, ["brick 2 x 4", "brick 2 x 6"]
    )
    assert found["lookup_and_forest"][0].argmax() == 1


@pytest.mark.parametrize("unit", [None, "m"])
def test_numbers_in_texts_are_no_sizes_where_the_unit_is_no_stud(toys, unit):
    texts = ["brick 2 x 4", "brick 2 x 6"]
    data = [toys.dataset(unit=unit), toys.dataset(unit=unit, train=plain_sizes(toys))]
    found = [retrieval_baselines(pool_of(d, toys.ASKED), toys.ASKED, texts) for d in data]
    assert found[0]["lookup_and_forest"][0].argmax() == 0  # by the neighbours' words alone
    assert set(found[0]) == set(found[1])


def plain_sizes(toys):
    return [{**r, "caption": r["caption"].replace(" x ", " by ")} for r in toys.records()]


def test_ties_count_by_their_expectation():
    positives = [[k] for k in range(20)]
    recalls = expected_recalls(np.zeros((20, 20)), positives)
    chance = chance_retrieval([1] * 20, 20)
    for name, values in recalls.items():
        np.testing.assert_allclose(values, chance[name])
    two_colours = np.kron(np.eye(2), np.ones((10, 10)))
    assert expected_recalls(two_colours, positives)["recall_at_5"] == pytest.approx([0.5] * 20)


def test_without_ties_recalls_are_those_of_the_ranks():
    scores = np.random.default_rng(0).standard_normal((15, 15))
    positives = [[k, (k + 3) % 15] for k in range(15)]
    wanted = retrieval_scores(scores, positives)
    values, items = recall_scores({"x": scores}, positives, [str(k) for k in range(15)])
    assert values["x"]["object_to_text/recall_at_5"] == pytest.approx(wanted.values["recall_at_5"])
    per_item = list(items["x"]["object_to_text/recall_at_1"].values())
    assert per_item == (wanted.ranks <= 1).astype(float).tolist()
