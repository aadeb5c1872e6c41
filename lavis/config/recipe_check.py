"""What no value of a recipe may hold: functions of the environment, and text that is no text.

A recipe may come from elsewhere, and its resolved values go to config.yaml, checkpoints, the log
and the terminal. `${oc.env:NAME}` would copy a secret of the environment into all of them, so
functions (`${name:argument}`) are refused. References to other keys (`${run.seed}`) are allowed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf.errors import GrammarParseError
from omegaconf.grammar.gen.OmegaConfGrammarParser import OmegaConfGrammarParser
from omegaconf.grammar_parser import parse

from lavis.common.errors import ConfigError, explain
from lavis.common.strict_json import problem_of, unwritable


def refuse_resolvers(recipe: Mapping[str, Any], where: str) -> None:
    """Refuse values that call a function of OmegaConf.

    Args:
        recipe: recipe and options, not resolved.
        where: the recipe's path.

    Raises:
        ConfigError: with the key. The value of a variable is not in the message.
    """
    for place, text in _texts(recipe):
        if "${" in text and _calls(text):
            raise ConfigError(
                explain(
                    "a recipe cannot read the environment or call functions",
                    where=f"{where}: {place}",
                    got=text,
                    expected="a value, or a reference to another key such as ${run.seed}",
                    fix=f"give the value on the command line: --options {place}=...",
                )
            )


def refuse_no_text(recipe: Mapping[str, Any], where: str) -> None:
    """Refuse texts with half of a surrogate pair, which config.yaml cannot hold.

    Raises:
        ConfigError: with the key.
    """
    for place, value in unwritable(recipe):
        if isinstance(value, str):
            got = problem_of(value)
            raise ConfigError(explain("a value is no text", where=f"{where}: {place}", got=got))


def _texts(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Yield (place, text) of every key and value."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            inner = f"{place}.{key}".lstrip(".")
            yield inner, str(key)
            yield from _texts(item, inner)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _texts(item, f"{place}[{number}]")
    elif isinstance(value, str):
        yield place, value


def _calls(text: str) -> bool:
    """Tell whether OmegaConf's grammar reads a function call in a text."""
    try:
        waiting: list[Any] = [parse(text)]
    except GrammarParseError:
        return False  # resolving it fails, too, with the reason
    while waiting:
        node = waiting.pop()
        if isinstance(node, OmegaConfGrammarParser.InterpolationResolverContext):
            return True
        waiting += list(getattr(node, "children", None) or ())
    return False
