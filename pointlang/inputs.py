"""The files of a command line: files, folders, globs, lists in files and on standard input."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from lavis.common.errors import DataError
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
        inputs: files, folders, globs; `@list.txt` is a file that names files, one a line, and "-"
            such a list on standard input.
        listed: the lines of that list; None: standard input.

    Raises:
        DataError: a file is missing, or there is none; standard input of several ranks.
    """
    found: dict[str, None] = {}
    for given in inputs:
        if given == "-":
            found |= dict.fromkeys(_listed(_standard_input() if listed is None else listed))
        else:
            found |= dict.fromkeys(_expand(given))
    if not found:
        got = " ".join(inputs) or "nothing"
        expected = f"files, folders or globs of {FORMATS}"
        raise DataError("No file to predict on.", got=got, expected=expected)
    return list(found)


def _listed(lines: Iterable[str]) -> Iterator[str]:
    yield from (line.strip() for line in lines if line.strip())


def _standard_input() -> Iterable[str]:
    """Return the lines of standard input, which torch.distributed.run gives to all its ranks."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        what = "Several processes cannot share a list on standard input: each would read a part."
        fix = "write the list to a file and give @list.txt instead of -"
        raise DataError(what, where="-", fix=fix)
    return sys.stdin


def _expand(given: str) -> Iterator[str]:
    if os.path.isdir(given):
        yield from sorted(_below(given))
    elif os.path.exists(given):
        yield given
    elif given.startswith("@") and os.path.isfile(given[1:]):
        # Any bytes may be in a path; the surrogates are those of os.walk.
        with open(given[1:], encoding="utf-8", errors="surrogateescape") as lines:
            yield from _listed(lines)
    elif matches := sorted(glob.glob(given, recursive=True)):
        yield from (path for path in matches if _is_read(path))
    else:
        fix = "check the path; a question needs a space or a question mark"
        raise DataError("File not found.", where=given, got="missing", fix=fix)


def _below(folder: str) -> Iterator[str]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = (os.path.join(place, name) for name in names if not name.startswith("."))
        yield from filter(_is_read, paths)


def _is_read(path: str) -> bool:
    return Path(path).suffix.lower() in CONVENTION and os.path.isfile(path)
