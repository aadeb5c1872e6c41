"""Read a table of texts: .csv, .tsv, .json, .jsonl or .parquet, as rows of named columns."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lavis.common.errors import ConfigError, DataError, DependencyError
from lavis.common.strict_json import parse_json
from lavis.common.text_files import decode

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".parquet")
MAX_CELL = 2**24  # characters

Row = dict[str, Any]


def read_table(path: Path, encoding: str | None = None) -> list[Row]:
    """Return the rows of a table, each with the names of its columns.

    A .json is a list of records, or {object: text, texts or record}. A .jsonl has a record a line.

    Args:
        path: one of `SUFFIXES`.
        encoding: of a text that is not UTF-8, e.g. "cp1252" of spreadsheets on Windows.

    Raises:
        DataError: missing, damaged, not in the encoding, or without rows.
        ConfigError: an encoding that does not exist.
        DependencyError: a .parquet without pyarrow.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            rows = _parquet(path)
        elif suffix in (".csv", ".tsv"):
            rows = _separated(_text(path, encoding), "\t" if suffix == ".tsv" else None)
        elif suffix == ".json":
            rows = _records(parse_json(_text(path, encoding)))
        elif suffix == ".jsonl":
            rows = _lines(_text(path, encoding))
        else:
            raise ValueError(f"a {suffix or 'nameless'} file")
    except (OSError, ValueError, csv.Error) as error:
        raise _unreadable(path, error) from error
    if not rows:
        raise _unreadable(path, "no rows")
    return rows


def _text(path: Path, encoding: str | None) -> str:
    content = path.read_bytes()
    try:
        return decode(content) if encoding is None else content.decode(encoding)
    except LookupError as error:
        raise ConfigError("unknown encoding", where="--encoding", got=encoding) from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        shown = content[max(error.start - 20, 0) : error.start + 20]
        what = f"line {line} is not {encoding or 'UTF-8'}: {shown!r}"
        raise ValueError(f"{what}; --encoding cp1252 reads texts of Windows") from error


def _separated(text: str, separator: str | None) -> list[Row]:
    if "\0" in text:
        raise ValueError(
            f"line {text[: text.index(chr(0))].count(chr(10)) + 1} has a NUL character"
        )
    csv.field_size_limit(MAX_CELL)
    head = text.split("\n", 1)[0]
    mark = separator or max(",;\t|", key=head.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
    names = [name.strip() for name in next(rows, [])]
    if len(set(names)) < len(names):
        raise ValueError(f"columns of one name: {', '.join(names)}")
    found = []
    for row in rows:
        if len(row) != len(names) and any(row):
            raise ValueError(f"line {rows.line_num} has {len(row)} cells, {len(names)} columns")
        if any(cell.strip() for cell in row):
            found.append(dict(zip(names, row)))
    return found


def _records(content: Any) -> list[Row]:
    if isinstance(content, Mapping):
        content = [
            {"object_id": name, **(value if isinstance(value, Mapping) else {"caption": value})}
            for name, value in content.items()
        ]
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise ValueError(f"a {type(content).__name__}, no list of records and no mapping of texts")
    return content


def _lines(text: str) -> list[Row]:
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                rows += _records([parse_json(line)])
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from error
    return rows


def _parquet(path: Path) -> list[Row]:
    try:
        import pyarrow.lib
        import pyarrow.parquet
    except ImportError as error:
        fix = "pip install -r requirements-parquet.txt, or save the table as .csv or .jsonl"
        what = "a .parquet table needs pyarrow"
        raise DependencyError(what, where=str(path), fix=fix) from error
    try:
        rows = pyarrow.parquet.read_table(path).to_pylist()
    except pyarrow.lib.ArrowException as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    return _records(json.loads(json.dumps(rows, default=_plain)))


def _plain(value: object) -> str:
    """Write a value that JSON lacks, such as a date."""
    if isinstance(value, bytes):
        raise ValueError("a column of bytes; save texts as strings")
    return str(value)


def _unreadable(path: Path, problem: object) -> DataError:
    own = isinstance(problem, str) or type(problem) is ValueError
    return DataError(
        "a table of texts cannot be read",
        where=str(path),
        got=problem if own else f"{type(problem).__name__}: {problem}",
        expected=f"{' '.join(SUFFIXES)} in UTF-8, with the names of columns in the first line",
    )
