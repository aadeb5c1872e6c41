"""Commands: `python -m pointlang predict my.ply "What is this?"`; predict, export, systems."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module

# command -> module with main(arguments) -> exit code or None, and what it does
COMMANDS = {
    "predict": ("pointlang.command", "caption, ask, classify, embed, retrieve, segment own files"),
    "systems": ("pointlang.listing", "list the trained systems and what each can do"),
    "export": ("lavis.evaluation.sharing", "write a trained run as a Hugging Face folder"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; modules of the others are not imported."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    name = given[0] if given else ""
    if name not in COMMANDS:
        print(usage(), file=sys.stdout if name in ("-h", "--help") else sys.stderr)
        return 0 if name in ("-h", "--help") else 2
    run: Callable[[Sequence[str]], int | None] = import_module(COMMANDS[name][0]).main
    return run(given[1:]) or 0


def usage() -> str:
    """Return the commands, one a line."""
    lines = [f"  {name:<8} {what}" for name, (_, what) in COMMANDS.items()]
    return "\n".join(["usage: pointlang COMMAND …   (COMMAND --help)", "", *lines])


if __name__ == "__main__":
    sys.exit(main())
