"""The answerer that knows sizes alone."""

from __future__ import annotations

import numpy as np
import pytest

from lavis.common.errors import EvaluationError
from lavis.evaluation.baselines.nearest_box import NearestBoxAnswerer

BOXES = {
    "small": np.array([1.0, 1.0, 2.0]),
    "large": np.array([10.0, 1.0, 20.0]),
    "flat": np.array([10.0, 0.0, 20.0]),
    "asked": np.array([6.0, 1.0, 12.0]),  # nearer to small by length, to large by ratio
    "point": np.zeros(3),
}


def record(object_id: str, answer: str, kind: str = "size") -> dict[str, str]:
    return {"question_type": kind, "object_id": object_id, "answer": answer}


def test_answers_like_the_nearest_box_among_questions_of_the_type() -> None:
    answer = NearestBoxAnswerer(
        [record("small", "1 x 2"), record("large", "10 x 20"), record("asked", "yes", "teeth")],
        BOXES,
    )
    assert answer("size", "asked") == "10 x 20"
    assert answer("size", "small") == "1 x 2"
    assert answer("size", "flat") == "10 x 20"
    assert answer("teeth", "small") == "yes"
    assert answer("color", "small") == ""


def test_object_without_a_box_is_named() -> None:
    answer = NearestBoxAnswerer([record("point", "none")], BOXES)
    assert answer("size", "large") == "none"
    with pytest.raises(EvaluationError, match="object elsewhere"):
        answer("size", "elsewhere")
