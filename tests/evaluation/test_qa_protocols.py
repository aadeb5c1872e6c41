"""ScanQA and LEO scores, multiple choice, and the blind answerer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lavis.common.errors import EvaluationError
from lavis.evaluation.baselines.blind import BlindAnswerer
from lavis.evaluation.captioning import caption_scores
from lavis.evaluation.qa_protocols import (
    leo_match,
    multiple_choice_metrics,
    published_scores,
)

ANSWERS = {"q1": ["brown", "dark brown"], "q2": ["two chairs"], "q3": ["left of the table"]}
RANKED = {"q1": ["Brown."], "q2": ["one chair", "2 chairs"], "q3": ["table", "left"]}


def test_scanqa_counts_the_first_and_any_of_ten():
    scores = published_scores(RANKED, ANSWERS, ["scanqa"])
    assert scores.metrics["scanqa/em_at_1"]["value"] == pytest.approx(1 / 3)
    assert scores.metrics["scanqa/em_at_10"]["value"] == pytest.approx(2 / 3)
    expected = caption_scores(
        {"q1": "brown", "q2": "1 chair", "q3": "table"},
        {"q1": ["brown", "dark brown"], "q2": ["2 chairs"], "q3": ["left of table"]},
    )
    for name in ("bleu_1", "rouge_l", "cider"):
        assert scores.metrics[f"scanqa/{name}"]["value"] == expected.values[name]
    assert scores.metrics["scanqa/meteor"]["value"] is None
    assert "Java" in scores.unavailable["scanqa/meteor"]


def test_answers_without_a_ranking_have_no_em_at_10():
    scores = published_scores(dict.fromkeys(ANSWERS, "brown"), ANSWERS, ["scanqa"])
    assert "scanqa/em_at_10" not in scores.metrics


def test_leo_refined_match_accepts_a_contained_answer():
    metrics = published_scores(RANKED, ANSWERS, ["leo"]).metrics
    assert metrics["leo/exact_match"]["value"] == pytest.approx(1 / 3)
    assert metrics["leo/refined_exact_match"]["value"] == pytest.approx(2 / 3)


def test_leo_stops_at_the_first_reference_that_is_equal_or_contained():
    first_contained = published_scores({"q": "red"}, {"q": ["dark red", "red"]}, ["leo"]).metrics
    assert first_contained["leo/exact_match"]["value"] == 0.0
    assert first_contained["leo/refined_exact_match"]["value"] == 1.0
    assert first_contained["leo/exact_match_any"]["value"] == 1.0
    first_equal = published_scores({"q": "red"}, {"q": ["red", "dark red"]}, ["leo"]).metrics
    assert first_equal["leo/exact_match"]["value"] == 1.0
    # A reference in between that neither is nor holds the prediction decides nothing.
    passed_over = published_scores({"q": "red"}, {"q": ["blue", "red"]}, ["leo"]).metrics
    assert passed_over["leo/exact_match"]["value"] == 1.0


@pytest.mark.parametrize("prediction", ["", "?", " . "])
def test_an_empty_answer_is_a_refined_match_of_leo_alone(prediction):
    metrics = published_scores({"q": prediction}, {"q": ["red", "blue"]}, ["leo"]).metrics
    values = {name: entry["value"] for name, entry in metrics.items()}
    assert values == {
        "leo/exact_match": 0.0,
        "leo/refined_exact_match": 1.0,
        "leo/exact_match_any": 0.0,
        "leo/refined_exact_match_any": 0.0,
    }


def test_an_empty_reference_decides_in_leo():
    metrics = published_scores({"q": "red"}, {"q": ["?", "red"]}, ["leo"]).metrics
    assert metrics["leo/exact_match"]["value"] == 0.0
    assert metrics["leo/refined_exact_match"]["value"] == 1.0
    assert metrics["leo/exact_match_any"]["value"] == 1.0
    with pytest.raises(EvaluationError, match="'q'"):
        published_scores({"q": "red"}, {"q": []}, ["leo"])


def slow_leo_match(prediction: str, answers: list[str]) -> tuple[bool, bool]:
    """The rule over letters: a verdict per reference, and the first verdict counts."""
    squeezed = [c for c in prediction if not c.isspace()]
    verdicts = []
    for answer in answers:
        letters = [c for c in answer if not c.isspace()]
        short, long = sorted((squeezed, letters), key=len)
        starts = range(len(long) - len(short) + 1)
        inside = any(long[start : start + len(short)] == short for start in starts)
        verdicts.append((True, True) if prediction == answer else (False, True) if inside else None)
    return next((verdict for verdict in verdicts if verdict), (False, False))


SHORT_TEXTS = st.text(alphabet="ab \n", max_size=4)


@given(prediction=SHORT_TEXTS, answers=st.lists(SHORT_TEXTS, max_size=4))
def test_leo_match_equals_a_slow_reference(prediction, answers):
    assert leo_match(prediction, answers) == slow_leo_match(prediction, answers)


def test_perfect_answers_score_the_maximum_and_empty_ones_nothing():
    perfect = published_scores({q: a[0] for q, a in ANSWERS.items()}, ANSWERS, ["scanqa", "leo"])
    for name in ("scanqa/em_at_1", "leo/exact_match", "leo/refined_exact_match"):
        assert perfect.metrics[name]["value"] == 1.0
    empty = published_scores(dict.fromkeys(ANSWERS, ""), ANSWERS, ["scanqa", "leo"])
    for name in ("scanqa/em_at_1", "leo/exact_match", "leo/refined_exact_match_any"):
        assert empty.metrics[name]["value"] == 0.0


def test_missing_and_empty_answers_are_named():
    with pytest.raises(EvaluationError, match="q3"):
        published_scores({"q1": "a", "q2": "b"}, ANSWERS, ["leo"])
    with pytest.raises(EvaluationError, match="q2"):
        published_scores(RANKED, ANSWERS | {"q2": ["the"]}, ["scanqa"])


def test_multiple_choice_by_mean_and_by_sum():
    likelihoods = {"a": [-2.0, -3.0], "b": [-1.0, -1.0]}
    tokens = {"a": [1, 3], "b": [2, 2]}
    metrics = multiple_choice_metrics(likelihoods, tokens, {"a": 1, "b": 0})
    # The mean prefers the long choice of "a", the sum the short one; equal choices are never right.
    assert metrics["choice_accuracy"]["value"] == 0.5
    assert metrics["choice_accuracy_sum"]["value"] == 0.0


@pytest.mark.parametrize("bad", [[-1.0, float("nan")], [-1.0], [-1.0, -2.0, -3.0]])
def test_choices_that_cannot_be_compared_are_named(bad):
    with pytest.raises(EvaluationError, match="'q7'"):
        multiple_choice_metrics({"q7": bad}, {"q7": [1, 1]}, {"q7": 1})


TRAIN = [
    {"question": "what color is it?", "answer": "red"},
    {"question": "What color is it", "answer": "red"},
    {"question": "what color is it?", "answer": "blue"},
    {"question": "does it have a hinge?", "answer": ["no", "nope"]},
    {"question": "does it have a clip?", "answer": "yes"},
]


def test_blind_answers_by_the_same_then_the_nearest_question():
    answer = BlindAnswerer(TRAIN)
    assert answer("what color is it?") == "red"
    assert answer("does this piece have a hinge?") == "no"
    assert answer("xyz") == ""
    assert BlindAnswerer(TRAIN[::-1])("does it have a clip or so?") == "yes"


def test_blind_needs_questions():
    with pytest.raises(EvaluationError, match="no training"):
        BlindAnswerer([])
    with pytest.raises(EvaluationError, match="number 0"):
        BlindAnswerer([{"answer": "x"}])
