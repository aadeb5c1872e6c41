"""QA: normalisation, exact and refined exact match, families, the most-frequent baseline."""

import pytest

from lavis.common.errors import EvaluationError
from lavis.evaluation.qa import (
    MIN_FAMILY,
    most_frequent_answers,
    normalize_answer,
    qa_scores,
)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("The Two-by-four!", "2 x 4"),
        ("2×4", "2 x 4"),
        ("2x4x1/3", "2 x 4 x 1/3"),
        ("a 2 X 4 plate.", "2 x 4 plate"),
        ("twelve teeth", "12 teeth"),
        ("Thirty", "30"),
        ("Left-handed", "left handed"),
        ("It's 1,000.5", "its 1000.5"),
        ("yes, it is.", "yes it is"),
        ("and/or", "and or"),
        ("box by the x", "box by x"),
        ("A", "a"),
        (" ?! ", ""),
    ],
)
def test_answers_have_one_spelling(text, canonical):
    assert normalize_answer(text) == canonical
    assert normalize_answer(canonical) == canonical


def test_exact_and_refined_match_per_family():
    scores = qa_scores(
        {1: "a Red", 2: "dark red brick", 3: "", 4: "2x4"},
        {1: "red", 2: "red", 3: "blue", 4: ["1 x 2", "2 x 4"]},
        {1: "colour", 2: "colour", 3: "colour", 4: "size"},
    )
    assert scores.exact_match.tolist() == [1, 0, 0, 1]
    assert scores.refined_exact_match.tolist() == [1, 1, 0, 1]
    assert scores.n_empty == 1
    assert scores.per_family["size"] == {"n": 1, "exact_match": 1, "refined_exact_match": 1}
    assert scores.per_family["colour"]["exact_match"] == pytest.approx(1 / 3)


def family_of_questions(name, n, n_right):
    ids = [f"{name} {k}" for k in range(n)]
    return {i: "yes" if k < n_right else "no" for k, i in enumerate(ids)}


def test_families_are_reported_alone_from_50_questions_and_pooled_below():
    many, few = family_of_questions("many", MIN_FAMILY, 20), family_of_questions("few", 30, 30)
    fewer = family_of_questions("fewer", MIN_FAMILY - 1, 0)
    predictions = many | few | fewer
    answers = dict.fromkeys(predictions, "yes")
    scores = qa_scores(predictions, answers, {i: i.split()[0] for i in predictions})
    metrics = scores.metrics(n_resamples=100)
    assert metrics["exact_match"]["value"] == pytest.approx(50 / 129)
    assert metrics["exact_match/many"]["value"] == pytest.approx(20 / MIN_FAMILY)
    assert metrics["exact_match/rare"]["value"] == pytest.approx(30 / 79)
    assert metrics["exact_match/few"] == {"value": None, "ci95": None}
    assert set(scores.unavailable) == {"exact_match/few", "exact_match/fewer"}
    assert scores.unavailable["exact_match/few"].startswith("30 questions, fewer than 50")
    assert set(scores.family_items["exact_match/many"]) == set(many)
    assert set(scores.family_items["exact_match/rare"]) == {*few, *fewer}


def test_perfect_answers_score_one_in_any_order():
    answers = {k: f"answer {k}" for k in range(9)}
    families = {k: "odd" if k % 2 else "even" for k in range(9)}
    scores = qa_scores(dict(reversed(answers.items())), answers, families)
    assert {value for value in scores.values.values() if value is not None} == {1.0}


def test_most_frequent_answers_come_from_training_and_break_ties_by_alphabet():
    train = [
        {"family": "size", "answer": "2x4"},
        {"family": "size", "answer": "2 x 4"},
        {"family": "size", "answer": "1 x 1"},
        {"family": "colour", "answer": "red"},
        {"family": "colour", "answer": ["blue", "navy"]},
    ]
    frequent = most_frequent_answers(train)
    assert frequent == {"size": "2 x 4", "colour": "blue"}
    families = {"q1": "size", "q2": "gear"}
    predictions = {q: frequent.get(family, "") for q, family in families.items()}
    scores = qa_scores(predictions, {"q1": "2 X 4", "q2": "8"}, families)
    assert scores.exact_match.tolist() == [1, 0]
    assert scores.n_empty == 1
    with pytest.raises(EvaluationError, match=r"number 0[\s\S]*question_family"):
        most_frequent_answers(train, family_key="question_family")


@pytest.mark.parametrize(
    ("predictions", "answers", "families", "named"),
    [
        ({}, {"q1": "a"}, {"q1": "f"}, "missing: 'q1'"),
        ({"q1": "a"}, {"q1": "a"}, {}, "question families"),
        ({"q1": "a"}, {"q1": " . "}, {"q1": "f"}, "q1"),
        ({"q1": "a"}, {"q1": []}, {"q1": "f"}, "q1"),
        ({"q1": 3}, {"q1": "3"}, {"q1": "f"}, "q1"),
    ],
)
def test_bad_input_is_refused_by_name(predictions, answers, families, named):
    with pytest.raises(EvaluationError, match=named):
        qa_scores(predictions, answers, families)


def test_questions_without_colour_are_scored_together() -> None:
    families = {1: "color", 2: "category", 3: "shape", 4: "color"}
    answers = {1: "red", 2: "brick", 3: "yes", 4: "blue"}
    given = {1: "red", 2: "brick", 3: "no", 4: "blue"}
    scores = qa_scores(given, answers, families)
    assert scores.values["exact_match"] == 0.75
    assert scores.values["exact_match/without_color"] == 0.5
    assert scores.family_items["exact_match/without_color"] == {2: 1.0, 3: 0.0}
    assert "exact_match/without_color" not in qa_scores({1: "red"}, {1: "red"}, {1: "color"}).values
    plain = qa_scores({2: "brick", 3: "no"}, {2: "brick", 3: "yes"}, {2: "category", 3: "shape"})
    assert "exact_match/without_color" not in plain.values
