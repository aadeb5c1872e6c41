"""JSON that the standard does not allow is refused with its place."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lavis.common.errors import EvaluationError
from lavis.common.strict_json import parse_json
from lavis.evaluation.provenance import write_json_atomic

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_json_of_the_standard_is_read_as_python_reads_it(value):
    assert parse_json(json.dumps(value)) == value


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('[{"id": 1}, {"id": 2, "score": NaN}]', r"\[1\]\.score: nan"),
        ('{"a": {"b": [0, -Infinity]}}', r"a\.b\[1\]: -inf"),
        ('{"scale": 1e400}', "scale: inf"),
        ('{"u7": {"caption": "a \\ud83d"}}', r"u7\.caption: half of a surrogate"),
        ('{"u7": {"caption": "\\ude00\\ud83d"}}', r"u7\.caption"),
        ('{"a\\udfff": 1}', "surrogate"),
        ('[{"id": "x9", "caption": "a", "caption": "b"}]', "'caption' is given twice.*id: x9"),
        ("[" * 100_000, "nested too deeply"),
        ("9" * 5000, "digits"),
        ("{'a': 1}", "Expecting"),
    ],
)
def test_the_place_is_named(text, place):
    with pytest.raises(ValueError, match=place):
        parse_json(text)


def test_whole_emojis_and_large_numbers_stay():
    assert parse_json('["\\ud83d\\ude00", 1e308, 0.1]') == ["\U0001f600", 1e308, 0.1]


@pytest.mark.parametrize("value", ["\ud83d", float("nan"), float("inf")])
def test_writing_names_the_place_and_leaves_the_file(tmp_path, value):
    path = write_json_atomic(tmp_path / "test.json", [])
    with pytest.raises(EvaluationError, match=r"\[1\]\.caption"):
        write_json_atomic(path, [{"caption": "a"}, {"caption": value}])
    assert path.read_text() == "[]\n"
