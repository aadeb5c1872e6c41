"""What the command lines share: help from the docstring, positive numbers, errors as sentences."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable
from typing import ParamSpec

from lavis.common.errors import PointLanguageError

P = ParamSpec("P")


def command_parser(doc: str | None, prog: str | None = None) -> argparse.ArgumentParser:
    """Return a parser whose help shows a module docstring line by line."""
    style = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(prog=prog, description=doc, formatter_class=style)


def positive(text: str) -> int:
    """Read a whole number of at least 1, as the `type` of an argument.

    Raises:
        argparse.ArgumentTypeError: it is something else.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: a whole number of at least 1")
    return int(text)


def report_errors(*further: type[Exception]) -> Callable[[Callable[P, int]], Callable[P, int]]:
    """Return a decorator of a `main`: an error is printed to stderr, and the exit status is 1.

    Args:
        further: exceptions to report besides PointLanguageError; others are bugs.
    """

    reported: tuple[type[Exception], ...] = (PointLanguageError, *further)

    def decorate(main: Callable[P, int]) -> Callable[P, int]:
        @functools.wraps(main)
        def run(*args: P.args, **kwargs: P.kwargs) -> int:
            try:
                return main(*args, **kwargs)
            except reported as error:
                print(error, file=sys.stderr)
                return 1

        return run

    return decorate
