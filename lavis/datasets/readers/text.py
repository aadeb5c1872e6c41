"""Read .txt, .xyz, .pts, .csv and .asc: one point a line.

Without names, 3 columns are x y z, and 6 are x y z and colours (or normals); of .pts 4 and 7 have
the intensity in between. Any columns may be named in the first line, as in `//X Y Z R G B`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from lavis.datasets.readers.cloud import Cloud, cloud_of_array, cloud_of_fields

SUFFIXES = (".txt", ".xyz", ".pts", ".csv", ".asc")
_COMMENTS = ("#", "//")
_NUMBER = re.compile(r"[-+]?(\d|\.\d|nan|inf)", re.IGNORECASE)


def cloud_of_text(text: str, suffix: str) -> Cloud:
    """Return the cloud of a text.

    Args:
        text: the file's content.
        suffix: of the file's name; `.pts` may have an intensity.

    Raises:
        ValueError: no points, ragged lines, columns without meaning, or see `make_cloud`.
    """
    head, lines = _split_head(text)
    if not lines:
        raise ValueError("no points")
    separator = next((mark for mark in ",;" if mark in lines[0]), None)
    table = numbers(lines, separator)
    _check_count(head, len(table))
    names = _column_names(head, table.shape[1])
    if names:
        return cloud_of_fields({name: table[:, place] for place, name in enumerate(names)})
    if suffix == ".pts" and table.shape[1] in (4, 7):
        rest = np.delete(table, 3, axis=1)
        return cloud_of_array(rest, {"intensity": table[:, 3]})
    if table.shape[1] not in (3, 6):
        raise ValueError(f"{table.shape[1]} columns without names in the first line")
    return cloud_of_array(table)


def numbers(lines: Sequence[str], separator: str | None) -> np.ndarray:
    """Return lines of numbers as float64 [N,C].

    Args:
        separator: between numbers; None is white space.

    Raises:
        ValueError: something else than a number, or lines of different length.
    """
    lines = [line.rstrip(" \t,;") for line in lines] if separator else lines
    return np.loadtxt(lines, delimiter=separator, comments=None, ndmin=2)


def typed(values: np.ndarray, kind: str | np.dtype, name: str) -> np.ndarray:
    """Return numbers of a text in their declared type.

    Raises:
        ValueError: the type cannot hold them.
    """
    dtype = np.dtype(kind)
    with np.errstate(invalid="ignore", over="ignore"):
        converted = values.astype(dtype)
    if dtype.kind != "f" and not np.array_equal(converted, values):
        raise ValueError(f"{name} from {values.min():g} to {values.max():g}, declared {dtype}")
    return converted


def _split_head(text: str) -> tuple[list[str], list[str]]:
    """Return the lines before the first point, and those of points; comments between points go."""
    given = [line.strip() for line in text.splitlines() if line.strip()]
    start = next((i for i, line in enumerate(given) if _is_point(line)), len(given))
    head, rest = given[:start], given[start:]
    unknown = [line for line in head if not _may_precede(line)]
    if unknown:
        raise ValueError(f"the line {unknown[0][:60]!r} before the points")
    return head, [line for line in rest if not line.startswith(_COMMENTS)]


def _is_point(line: str) -> bool:
    """Return whether a line begins with a number and has more than one."""
    return bool(_NUMBER.match(line)) and len(_words(line)) > 1


def _may_precede(line: str) -> bool:
    """Return whether a line is a comment, a count, or the names of columns."""
    words = [word.lower() for word in _words(line)]
    return line.startswith(_COMMENTS) or line.isdecimal() or {"x", "y", "z"} <= set(words)


def _words(line: str) -> list[str]:
    return [word.strip("\"'") for word in re.split(r"[\s,;]+", line.lstrip("#/ ")) if word]


def _check_count(head: Sequence[str], count: int) -> None:
    """Refuse a file whose declared number of points is another one."""
    declared = [int(line) for line in head if line.isdecimal()]
    if declared and declared[-1] != count:
        raise ValueError(f"{declared[-1]:,} points declared, {count:,} in the file")


def _column_names(head: Sequence[str], width: int) -> list[str]:
    """Return the names of columns from the last line of the head that has them, or none."""
    for line in reversed(head):
        words = _words(line)
        if len(words) == width and {"x", "y", "z"} <= {word.lower() for word in words}:
            return words
    named = [line for line in head if not line.startswith(_COMMENTS) and not line.isdecimal()]
    if named:
        raise ValueError(f"{width} columns under the names {named[-1][:60]!r}")
    return []
