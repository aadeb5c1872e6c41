"""Compare a user's section with the component's default yaml, which lists every key it reads."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from lavis.common.errors import ConfigError, nearest
from lavis.config.run_schema import SCALARS, coerce
from lavis.config.value_ranges import check_range


def check_keys(
    section: Mapping[str, Any],
    default: Mapping[str, Any],
    *,
    name: str,
    where: str,
    default_path: str,
    extra: Collection[str] = (),
) -> dict[str, Any]:
    """Check keys and types of `section` against `default`, recursively.

    An empty mapping in the default leaves its content free; a null default takes any value; a
    component of another `name` (encoder, processor) is left to that component.

    Args:
        section: what the user gave (recipe and options merged).
        default: the component's default.
        name: dotted name of the section, e.g. "model".
        where: the recipe's path, for messages.
        default_path: the default's path, for messages.
        extra: keys allowed in addition to the default's (checked by their reader).

    Returns:
        `section` with numbers that were written as text turned into numbers.

    Raises:
        ConfigError: unknown key, wrong type or value out of range.
    """
    checked: dict[str, Any] = {}
    for key, value in section.items():
        key = str(key)
        dotted = f"{name}.{key}"
        if key in default:
            checked[key] = _check_value(value, default[key], dotted, where, default_path)
            check_range(key, checked[key], f"{where}: {dotted}")
        elif key in extra:
            checked[key] = value
        else:
            known = sorted({*map(str, default), *extra})
            raise ConfigError(
                f"unknown key {key!r}.{nearest(key, known)}",
                where=f"{where}: {dotted}",
                got=value,
                expected=f"one of {', '.join(known)} (from {default_path})",
                fix="correct or remove the key",
            )
    return checked


def _check_value(value: Any, default: Any, dotted: str, where: str, default_path: str) -> Any:
    """Return one checked value; mappings recurse, lists are only checked to be lists."""
    meaning = f"the default in {default_path} is {default!r}"
    if value is None or default is None:
        return value
    if isinstance(default, Mapping):
        if not isinstance(value, Mapping):
            raise _wrong_type(value, "a mapping", meaning, f"{where}: {dotted}")
        if not default or _replaces(value, default):
            return dict(value)
        return check_keys(value, default, name=dotted, where=where, default_path=default_path)
    if isinstance(default, list):
        # LAVIS writes one path or a list of paths under the same key (`storage`, `url`).
        if not isinstance(value, (list, str)):
            raise _wrong_type(value, "a list", meaning, f"{where}: {dotted}")
        return value
    if isinstance(default, str) and isinstance(value, list):
        return value
    kind = SCALARS[type(default)]
    # A default written as 0 or 1 (a rate, a weight) may stand for a fraction.
    kind = "float" if kind == "int" and default in (0, 1) and not _is_whole(value) else kind
    return coerce(kind, value, f"{where}: {dotted}", meaning)


def without_replaced(default: Mapping[str, Any], section: Mapping[str, Any]) -> dict[str, Any]:
    """Return `default` without the components that `section` names differently.

    A mapping with a `name` describes a component (an encoder, a processor). Another name means
    another component, which has keys of its own: those of the default's must not be merged in.
    """
    kept: dict[str, Any] = {}
    for key, value in default.items():
        given = section.get(key)
        if isinstance(value, Mapping) and isinstance(given, Mapping):
            if _replaces(given, value):
                continue
            value = without_replaced(value, given)
        kept[str(key)] = value
    return kept


def _replaces(given: Mapping[str, Any], default: Mapping[str, Any]) -> bool:
    """Return whether `given` names another component than `default`."""
    return "name" in given and "name" in default and given["name"] != default["name"]


def _is_whole(value: Any) -> bool:
    """Return whether a number (or its text) is whole; anything else is left to `coerce`."""
    try:
        return isinstance(value, bool) or float(value) == int(float(value))
    except (TypeError, ValueError, OverflowError):
        return True


def _wrong_type(value: Any, expected: str, meaning: str, where: str) -> ConfigError:
    """Compose the message for a value of another type."""
    got = f"{value!r} ({type(value).__name__})"
    return ConfigError("wrong type", where=where, got=got, expected=f"{expected} ({meaning})")
