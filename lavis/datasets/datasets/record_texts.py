"""Texts of a record: missing texts, wrong types, and several texts in one field.

A field of `LISTED` is one text or a list of texts. `one_text_each` keeps the first as the field's
value, for everything that needs one (retrieval, classification, baselines), and all of them under
`record["texts"]`: references of the metrics, and what training draws from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lavis.common.errors import DataError

Entry = dict[str, Any]
LISTED = ("caption", "colored_caption", "description", "answer")
IDS = ("object_id", "question_id", "instance_id")
# Records of one id that differ here are different items, not several texts of one.
DECISIVE = ("object_id", "question", "category", "family", "question_type", "choices")


def is_missing(value: Any) -> bool:
    """Return whether a value is null, blank text or an empty list; 0 and False are values."""
    return value is None or value == [] or (isinstance(value, str) and not value.strip())


def one_text_each(record: Entry) -> Entry:
    """Return a record whose `LISTED` fields hold one text, and `texts` {field: all of them}.

    Numbers among answers become text. Lists of anything else stay, for `text_problem` to refuse. A
    question with `answers` and no `answer` learns from all of them.
    """
    record = {**record}
    if is_missing(record.get("answer")) and not is_missing(record.get("answers")):
        record["answer"] = record["answers"]
    if isinstance(record.get("object_id"), int) and not isinstance(record["object_id"], bool):
        record["object_id"] = str(record["object_id"])  # stores and results name objects by text
    several = dict(record.get("texts", {}))
    for name in LISTED:
        value = _answer_texts(record[name]) if name == "answer" and name in record else None
        value = record.get(name) if value is None else value
        if isinstance(value, list) and value and all(map(_is_text, value)):
            several[name] = list(dict.fromkeys(value))
            value = value[0]
        if name in record:
            record[name] = value
    if "answer" in several:
        given = _answer_texts(record.get("answers"))
        further = given if isinstance(given, list) else []
        record["answers"] = list(dict.fromkeys([*several["answer"], *further]))
    return {**record, "texts": several} if several else record


def all_texts(record: Entry, name: str) -> list[str]:
    """Return every text of a field, the first one first."""
    return list(record.get("texts", {}).get(name) or [record[name]])


def drawn_text(record: Entry, name: str, rng: np.random.Generator | None) -> str:
    """Return one text of a field: drawn, or the first without random numbers."""
    texts = all_texts(record, name)
    # One text draws nothing: the random numbers of data with one caption stay what they were.
    return texts[0] if rng is None or len(texts) == 1 else texts[int(rng.integers(len(texts)))]


def text_problem(record: Entry, required: Sequence[str]) -> str | None:
    """Return why a record cannot be used, naming its field, or None."""
    missing = [key for key in required if is_missing(record.get(key))]
    if missing:
        return f"empty or missing {', '.join(missing)}"
    for key in dict.fromkeys([*required, *(name for name in LISTED if name in record)]):
        value = record[key]
        fits = _is_id(value) if key in (*IDS, "category") else isinstance(value, str)
        if not fits and value is not None:
            return f"{key} is {_described(value)}, expected {_expected(key)}"
    answers = record.get("answers")
    if answers is not None and not isinstance(_answer_texts(answers), list):
        return f"answers is {_described(answers)}, expected a list of texts"
    if isinstance(answers, list) and not all(map(_is_text, _answer_texts(answers))):
        return f"answers is {_described(answers)}, expected a list of texts"
    return None


def joined(records: Sequence[Entry], id_key: str, where: str) -> list[Entry]:
    """Join records of one id: their captions or answers are several texts of one item.

    Raises:
        DataError: records of one id differ in what an item is (`DECISIVE`).
    """
    first: dict[Any, Entry] = {}
    for number, record in enumerate(records):
        name = record.get(id_key)
        # A record without an id is reported by the data set, as it is.
        key = str(name) if _is_id(name) and not is_missing(name) else (number,)
        first[key] = _join(first[key], record, where) if key in first else record
    return list(first.values())


def _join(first: Entry, second: Entry, where: str) -> Entry:
    differing = [key for key in DECISIVE if first.get(key) != second.get(key)]
    if differing:
        key = differing[0]
        raise DataError(
            f"two records of one id differ in {', '.join(differing)}",
            where=f"{where}: object {first.get('object_id')!r}",
            got=f"{key}: {first.get(key)!r} and {second.get(key)!r}",
            expected="an id for each item; several captions or answers of one item may differ",
            fix="give the records ids of their own, or make the field equal",
        )
    texts = {
        name: list(dict.fromkeys([*all_texts(first, name), *all_texts(second, name)]))
        for name in LISTED
        if name in first and name in second
    }
    if not all(isinstance(text, str) for group in texts.values() for text in group):
        return first | {name: second[name] for name in texts if not _is_text(second[name])}
    answers = [*first.get("answers", []), *second.get("answers", [])]
    merged = {"answers": list(dict.fromkeys([*texts["answer"], *answers]))} if answers else {}
    several = any(len(own) > 1 for own in texts.values())
    return {**first, **merged, **({"texts": texts} if several else {})}


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_id(value: Any) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


def _answer_texts(value: Any) -> Any:
    """Return an answer or a list of answers with numbers as text."""
    if isinstance(value, list):
        return [_answer_texts(item) for item in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value


def _described(value: Any) -> str:
    if isinstance(value, list):
        kinds = sorted({"blank text" if v == "" else type(v).__name__ for v in value})
        return f"a list of {', '.join(kinds)}"
    return f"{type(value).__name__} {value!r}"


def _expected(key: str) -> str:
    if key in IDS:
        return "text or a whole number"
    return "text or a list of texts" if key in LISTED else "text"
