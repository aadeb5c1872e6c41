"""Each claim beside the strongest baseline, corrected over the whole table."""

import pytest

from lavis.evaluation.claims import strongest_baseline, table_claims
from lavis.evaluation.multiple_tests import holm
from lavis.evaluation.run_records import named


def judged(*records):
    return table_claims([named(f"run{k}", r, f"{k}.json") for k, r in enumerate(records)])


def test_the_strongest_baseline_has_the_largest_score(table_records):
    assert strongest_baseline(table_records.captioning(), "cider") == ("nearest_box", 1.334)
    assert strongest_baseline(table_records.captioning(strongest=0.05), "cider") == (
        "chance_caption",
        0.077,
    )
    assert strongest_baseline(table_records.captioning(), "bleu_4") == (None, None)
    equal = table_records.record(
        baselines={"b": {"cider": 0.5}, "a": {"cider": 0.5}, "c": {"cider": None}}
    )
    assert strongest_baseline(equal, "cider") == ("a", 0.5)


def test_p_values_are_corrected_over_the_table(table_records):
    p_values = [0.004, 0.02, 0.03]
    records = [
        table_records.captioning(difference=table_records.paired(0.2, 0.1, 0.3, p))
        for p in p_values
    ]
    claims = judged(*records)
    assert [claim.adjusted_p for claim in claims] == holm(p_values)
    assert [claim.verdict for claim in claims] == ["above", "above", "above"]
    more = judged(
        *records, table_records.captioning(difference=table_records.paired(0.2, 0.1, 0.3, 0.04))
    )
    # The same second run: two of four tests are not significant once there are four.
    assert [claim.verdict for claim in more] == ["above", "level", "level", "level"]
    (alone,) = judged(records[1])
    assert alone.adjusted_p == pytest.approx(0.02)


def test_controls_claim_nothing_and_an_untested_baseline_is_named(table_records):
    control = table_records.captioning(split="dev_test_box_shell", alteration="box_shell")
    assert judged(control) == []
    (claim,) = judged(table_records.captioning(comparisons={}))
    assert (claim.verdict, claim.baseline, claim.adjusted_p) == ("not tested", "nearest_box", None)
    (alone,) = judged(table_records.record(claims=["cider"]))
    assert (alone.verdict, alone.baseline_text) == ("not tested", "none")


def test_the_part_that_controls_are_scored_on_claims_nothing_again(table_records):
    whole = table_records.captioning() | {"checkpoint_hash": "one"}
    part = whole | {"n_scored": whole["n_scored"] - 1}
    assert [claim.run.name for claim in judged(part, whole)] == ["run1"]
    part["checkpoint_hash"] = "another"
    assert len(judged(part, whole)) == 2
    colored = whole | {"n_scored": 1, "extra": {"text": "with colour"}}
    assert len(judged(whole, colored)) == 2


def test_a_comparison_on_fewer_items_shows_their_number(table_records):
    (claim,) = judged(
        table_records.captioning(difference=table_records.paired(0.2, 0.1, 0.3, 0.01, n=5))
    )
    assert claim.difference_text == "+20.0 [10.0, 30.0] (n 5)"
