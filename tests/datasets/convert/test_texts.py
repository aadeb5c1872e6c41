"""What columns mean, and rows joined with the objects."""

from __future__ import annotations

import pytest

from lavis.common.errors import ConfigError, DataError
from lavis.datasets.convert.columns import columns_of
from lavis.datasets.convert.texts import Joined, ObjectTexts, join

OBJECTS = {"a": "a.ply", "x/b": "x/b.ply", "y/b": "y/b.ply"}


def joined(*rows: dict, **chosen: str) -> Joined:
    names = list(dict.fromkeys(name for row in rows for name in row))
    return join(rows, columns_of(names, chosen, "table.csv"), OBJECTS)


def test_columns_are_known_by_their_names_in_any_case() -> None:
    found = columns_of(["UID", "Text", "caption_2", "Label", "notes"], {}, "t.csv")
    assert found == {"object": ["UID"], "caption": ["Text", "caption_2"], "class": ["Label"]}
    assert columns_of(["k", "v"], {"object": "k", "caption": "v"}, "t.csv")["caption"] == ["v"]


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"captoin": "text"}, r"Did you mean 'caption'"),
        ({"caption": "texts"}, r"Did you mean 'text'"),
    ],
)
def test_a_misspelt_choice_is_refused_with_the_nearest(chosen, message) -> None:
    with pytest.raises(ConfigError, match=message):
        columns_of(["id", "text"], chosen, "t.csv")


def test_a_table_that_names_no_objects_is_refused() -> None:
    with pytest.raises(DataError, match=r"t\.csv(.|\n)*--columns object="):
        columns_of(["thing", "text"], {}, "t.csv")


def test_rows_of_one_object_are_several_texts() -> None:
    found = joined(
        {"id": "a", "caption": "one", "class": "k"},
        {"id": "a.ply", "caption": ["two", "one", " "], "class": ""},
    )
    assert found.of["a"] == ObjectTexts(captions=["one", "two"], category="k")
    assert found.problems == {}


def test_questions_keep_their_answers_and_types() -> None:
    rows = [
        {"id": "a", "question": "what?", "answer": ["x", "y"], "family": "kind"},
        {"id": "a", "question": "what?", "answer": "z", "family": ""},
        {"id": "a", "question": "how many?", "answer": 0, "family": ""},
    ]
    texts = joined(*rows).of["a"]
    assert texts.questions == {"what?": ["x", "y", "z"], "how many?": ["0"]}
    assert texts.types == {"what?": "kind", "how many?": ""}


def test_what_does_not_fit_is_named_with_its_row() -> None:
    found = joined(
        {"id": "a", "caption": "x", "class": "k", "note": 1},
        {"id": "a", "caption": "y", "class": "other"},
        {"id": "b", "caption": "z"},
        {"id": "ghost", "caption": "z"},
        {"id": "", "caption": "z"},
        {"id": "a", "caption": "w", "question": "what?"},
        {"id": "a", "caption": "v", "split": "dev"},
    )
    assert found.problems == {
        "row 2 (a)": "class 'other', in an earlier row 'k'",
        "row 3 (b)": "the name of 2 objects: x/b, y/b",
        "row 5": "no object is named",
        "row 6 (a)": "a question without answer, or the reverse",
        "row 7 (a)": "split 'dev' is not train, val, test",
    }
    assert found.unknown == ["ghost"]
    assert found.unused == ["note"]
    assert found.of["a"].category == "k"


@pytest.mark.parametrize("value", [7, 7.0, "7"])
def test_numbers_as_ids(value) -> None:
    names = {"7": "7.ply"}
    found = join([{"id": value, "caption": "x"}], {"object": ["id"], "caption": ["caption"]}, names)
    assert list(found.of) == ["7"]
