"""Claims are compared with each baseline over the items that both have."""

import numpy as np
import pytest

from lavis.common.errors import EvaluationError
from lavis.evaluation.comparisons import compare_claims, paired_difference
from lavis.evaluation.intervals import paired_bootstrap

IDS = [f"i{k}" for k in range(40)]
OWN = dict(zip(IDS, np.random.default_rng(0).random(40).tolist()))
OTHER = {i: value - 0.2 for i, value in OWN.items()}


def mean(items):
    return sum(items.values()) / len(items)


def compare(**changes):
    arguments = {
        "claims": ["cider"],
        "metrics": {"cider": {"value": mean(OWN)}, "bleu_4": {"value": 0.1}},
        "per_item": {"cider": OWN},
        "baselines": {"nearest": {"cider": mean(OTHER)}, "chance": {"cider": 0.0}},
        "baseline_items": {"nearest": {"cider": OTHER, "rouge_l": OTHER}},
    }
    return compare_claims(**{**arguments, **changes})


def test_every_baseline_with_items_is_compared():
    found = compare()["cider"]
    assert list(found) == ["nearest"]
    assert found["nearest"]["difference"] == pytest.approx(0.2)
    assert found["nearest"]["n"] == 40
    assert found["nearest"]["p_value"] < 0.001
    assert compare(baseline_items={}) == {"cider": {}}


def test_ids_are_matched_by_name_and_only_common_ones_count():
    shuffled = {i: OWN[i] - (k % 2) for k, i in reversed(list(enumerate(IDS[:30])))}
    found = paired_difference(OWN, shuffled | {"unknown": 9.0})
    expected = paired_bootstrap([k % 2 for k in range(30)], [0.0] * 30)
    assert found == {
        "difference": pytest.approx(expected.difference),
        "ci95": pytest.approx(list(expected.ci95)),
        "p_value": pytest.approx(expected.p_value),
        "n": 30,
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"claims": ["bleu_4"]}, "no per-item values"),
        ({"claims": ["spice"]}, "no score"),
        ({"metrics": {"cider": {"value": mean(OWN) + 0.01}}}, "not the mean"),
        ({"baselines": {"nearest": {"cider": mean(OTHER) + 0.01}}}, "nearest.cider"),
        ({"baselines": {}}, "without a score"),
        ({"baseline_items": {"nearest": {"cider": {"x": mean(OTHER)}}}}, "resampled"),
    ],
)
def test_what_a_table_could_not_show_truthfully_is_refused(changes, message):
    with pytest.raises(EvaluationError, match=message):
        compare(**changes)
