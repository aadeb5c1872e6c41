"""The files of a command line: files, folders, globs, and a list on standard input."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from lavis.common.errors import DataError, explain
from lavis.datasets.convert.up_axis import CONVENTION
from pointlang.objects import FORMATS


def split_question(arguments: Sequence[str]) -> tuple[list[str], str | None]:
    """Return the inputs and the question of `predict a.ply "What is this?"`.

    The last argument is a question when it has a space or ends with "?", and names no file.
    """
    *inputs, last = arguments
    is_question = inputs and not os.path.exists(last) and (" " in last.strip() or last[-1:] == "?")
    if is_question and not glob.glob(last):
        return inputs, last
    return list(arguments), None


def expand(inputs: Sequence[str], listed: Iterable[str] | None = None) -> list[str]:
    """Return the files that inputs mean, each once, in a fixed order.

    A named file stays, whatever it is; of folders (searched to the bottom) and globs the files in
    formats that are read.

    Args:
        inputs: files, folders, globs; "-" is a list of files, one a line.
        listed: the lines of that list; None: standard input.

    Raises:
        DataError: a file is missing, or there is none.
    """
    found: dict[str, None] = {}
    for given in inputs:
        if given == "-":
            lines = sys.stdin if listed is None else listed
            found |= dict.fromkeys(line.strip() for line in lines if line.strip())
        else:
            found |= dict.fromkeys(_expand(given))
    if not found:
        got = " ".join(inputs) or "nothing"
        expected = f"files, folders or globs of {FORMATS}"
        raise DataError(explain("No file to predict on.", got=got, expected=expected))
    return list(found)


def _expand(given: str) -> Iterator[str]:
    if os.path.isdir(given):
        yield from sorted(_below(given))
    elif os.path.exists(given):
        yield given
    elif matches := sorted(glob.glob(given, recursive=True)):
        yield from (path for path in matches if _is_read(path))
    else:
        fix = "check the path; a question needs a space or a question mark"
        raise DataError(explain("File not found.", where=given, got="missing", fix=fix))


def _below(folder: str) -> Iterator[str]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = (os.path.join(place, name) for name in names if not name.startswith("."))
        yield from filter(_is_read, paths)


def _is_read(path: str) -> bool:
    return Path(path).suffix.lower() in CONVENTION and os.path.isfile(path)
