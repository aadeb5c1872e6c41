"""Refuse recipe values that read the environment or that no text file can hold.

A recipe may come from elsewhere, and its values go to config.yaml, checkpoints, the log and the
terminal; a path or a hub name even leaves the machine. `${oc.env:NAME}` would carry a secret there,
so functions (`${name:argument}`) are never called: they stay text, in the form `$(name:argument)`,
and a warning names the key. References to other keys (`${run.seed}`) work.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import GrammarParseError
from omegaconf.grammar.gen.OmegaConfGrammarParser import OmegaConfGrammarParser
from omegaconf.grammar_parser import parse

from lavis.common.errors import ConfigError
from lavis.common.strict_json import problem_of, unwritable


def resolve_references(recipe: Mapping[str, Any], where: str) -> Any:
    """Return a recipe with its references to other keys resolved and no function called.

    Args:
        recipe: recipe and options as plain values, not resolved.
        where: the recipe's path, for the warning.

    Raises:
        OmegaConfBaseException: a reference to no key.
    """
    resolved = OmegaConf.to_container(OmegaConf.create(_without_calls(recipe, where)), resolve=True)
    return _without_dollars(resolved)


def refuse_unwritable_text(recipe: Mapping[str, Any], where: str) -> None:
    """Refuse texts with half of a surrogate pair, which config.yaml cannot hold.

    Raises:
        ConfigError: with the key.
    """
    for place, value in unwritable(recipe):
        if isinstance(value, str):
            got = problem_of(value)
            raise ConfigError("a value is not valid text", where=f"{where}: {place}", got=got)


def _without_calls(value: Any, where: str, place: str = "") -> Any:
    """Return nested values in which function calls are plain text."""
    if isinstance(value, Mapping):
        return {
            key: _without_calls(item, where, f"{place}.{key}".lstrip("."))
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_without_calls(item, where, f"{place}[{n}]") for n, item in enumerate(value)]
    if isinstance(value, str) and "${" in value and _calls(value):
        text = _as_text(value)
        logging.warning(
            "%s: %s: a recipe cannot read the environment or call functions; the value is the text "
            "%s. Give the value with --options.",
            *(where, place, text),
        )
        return text
    return value


def _without_dollars(value: Any) -> Any:
    """Return resolved values without `${`, which a later reading would resolve again."""
    if isinstance(value, Mapping):
        return {key: _without_dollars(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_dollars(item) for item in value]
    return _as_text(value) if isinstance(value, str) and "${" in value else value


def _as_text(value: str) -> str:
    return value.replace("${", "$(").replace("}", ")")


def _calls(text: str) -> bool:
    """Return whether OmegaConf's grammar reads a function call in a text."""
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
