"""Command lines: help as written in the module, errors as one message and a status."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from lavis.common.command import command_parser, report_errors
from lavis.common.errors import DataError


def test_help_keeps_the_lines_of_the_docstring():
    text = command_parser(
        "First line.\n\n    python -m first\n    python -m second", "prog"
    ).format_help()
    assert "    python -m first\n    python -m second\n" in text
    assert text.startswith("usage: prog")


def main(arguments: Sequence[str] | None = None) -> int:
    error = {"data": DataError("broken", where="x"), "disk": OSError("full"), "bug": KeyError("k")}
    if arguments:
        raise error[arguments[0]]
    return 0


@pytest.mark.parametrize(
    ("name", "shown"), [("data", "broken\n  where:    x\n"), ("disk", "full\n")]
)
def test_expected_errors_are_printed_without_a_traceback(name, shown, capsys):
    assert report_errors(OSError)(main)([name]) == 1
    assert capsys.readouterr().err == shown


def test_other_errors_are_raised():
    assert report_errors()(main)() == 0
    with pytest.raises(OSError, match="full"):
        report_errors()(main)(["disk"])
    with pytest.raises(KeyError):
        report_errors(OSError)(main)(["bug"])
