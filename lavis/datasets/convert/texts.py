"""Join the rows of a table with the objects: captions, classes, questions, groups, splits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lavis.datasets.convert.scan import find, names_of
from lavis.datasets.convert.tables import Row

SPLITS = ("train", "val", "test")


@dataclass
class ObjectTexts:
    """What a table says of one object; texts in the order of the table, each once."""

    captions: list[str] = field(default_factory=list)
    category: str = ""
    questions: dict[str, list[str]] = field(default_factory=dict)  # question: answers
    types: dict[str, str] = field(default_factory=dict)  # question: its type
    group: str = ""
    split: str = ""

    def title(self) -> str:
        """Return a short text for a picture: the first caption, or the class, or ""."""
        return self.captions[0] if self.captions else self.category

    def add(self, other: ObjectTexts) -> None:
        """Take over what another says; what is one value stays where there is one."""
        self.captions = list(dict.fromkeys([*self.captions, *other.captions]))
        for question, answers in other.questions.items():
            known = self.questions.get(question, [])
            self.questions[question] = list(dict.fromkeys([*known, *answers]))
        self.types = {**other.types, **self.types}
        self.category = self.category or other.category
        self.group = self.group or other.group
        self.split = self.split or other.split


@dataclass
class Joined:
    """A table joined with the objects.

    Attributes:
        of: {object id: its texts}.
        has: meanings of the columns that the table has.
        unused: names of columns that mean nothing here.
        problems: {row of the table: what is wrong with it}.
        unknown: names of objects that no file has.
    """

    of: dict[str, ObjectTexts] = field(default_factory=dict)
    has: set[str] = field(default_factory=set)
    unused: list[str] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)


def join(
    rows: Sequence[Row], columns: Mapping[str, Sequence[str]], objects: dict[str, str]
) -> Joined:
    """Return what the rows say of the objects.

    Args:
        rows: of `read_table`.
        columns: of `columns_of`.
        objects: {object id: path}.
    """
    names, result = names_of(objects), Joined()
    used = {name for of in columns.values() for name in of}
    result.unused = list(dict.fromkeys(name for row in rows for name in row if name not in used))
    result.has = set(columns) - {"object"}
    texts: dict[str, ObjectTexts] = defaultdict(ObjectTexts)
    for number, row in enumerate(rows, 1):
        name = _text(row.get(columns["object"][0]))
        ids = find(name, objects, names)
        if len(ids) == 1:
            _add_row(texts[next(iter(ids))], row, columns, f"row {number} ({name})", result)
        elif ids:
            few = ", ".join(sorted(ids)[:3])
            result.problems[f"row {number} ({name})"] = f"the name of {len(ids)} objects: {few}"
        elif name:
            result.unknown.append(name)
        else:
            result.problems[f"row {number}"] = "no object is named"
    result.unknown = list(dict.fromkeys(result.unknown))
    result.of = dict(texts)
    return result


def _add_row(
    texts: ObjectTexts, row: Row, columns: Mapping[str, Sequence[str]], where: str, result: Joined
) -> None:
    """Add a row to the texts of its object; what contradicts an earlier row is a problem."""
    cells = {meaning: [row.get(name) for name in of] for meaning, of in columns.items()}
    new = ObjectTexts(captions=_texts(cells.get("caption", [])))
    for meaning, name in (("class", "category"), ("group", "group"), ("split", "split")):
        value, known = _text(*cells.get(meaning, [None])), getattr(texts, name)
        if value and known and value != known:
            result.problems[where] = f"{meaning} {value!r}, in an earlier row {known!r}"
        setattr(new, name, value)
    if new.split and new.split not in SPLITS:
        result.problems[where] = f"split {new.split!r} is not {', '.join(SPLITS)}"
        new.split = ""
    question, answers = _text(*cells.get("question", [None])), _texts(cells.get("answer", []))
    if question and answers:
        new.questions[question] = answers
        new.types[question] = _text(*cells.get("question_type", [None]))
    elif question or answers:
        result.problems[where] = "a question without answer, or the reverse"
    texts.add(new)


def _text(value: Any) -> str:
    """Return a cell as one text without space at its ends, "" for none."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # ids that a spreadsheet took for numbers
    return "" if value is None else str(value).strip()


def _texts(cells: Sequence[Any]) -> list[str]:
    """Return the texts of cells, which may hold lists of texts, each text once."""
    flat = [v for cell in cells for v in (cell if isinstance(cell, list) else [cell])]
    return list(dict.fromkeys(text for text in map(_text, flat) if text))
