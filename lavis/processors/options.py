"""Read a processor's section of the yaml: every key named, unknown keys refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lavis.common.errors import ConfigError, nearest


def read_options(
    cfg: Mapping[str, Any] | None, defaults: dict[str, Any], name: str
) -> dict[str, Any]:
    """Merge a section over its defaults.

    Args:
        cfg: the section as given, None for all defaults. `name` is always allowed.
        defaults: every key with its default; its type is the expected type, null takes any.
        name: the processor, for messages.

    Returns:
        Every key of `defaults` with its value.

    Raises:
        ConfigError: unknown key, or a value of another type.
    """
    options = dict(defaults)
    for key, value in (cfg or {}).items():
        if key == "name":
            continue
        if key not in defaults:
            raise ConfigError(
                f"unknown key {key!r} of the processor {name}",
                where=f"*_processor.*: {name}.{key}",
                got=value,
                expected=sorted(defaults),
                fix="correct or remove the key." + nearest(str(key), defaults),
            )
        options[key] = _typed(value, defaults[key], f"{name}.{key}")
    return options


def _typed(value: Any, default: Any, where: str) -> Any:
    if default is None or (value is None and default is None):
        return value
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not type(default):
        raise ConfigError(
            "a processor's key has the wrong type",
            where=f"*_processor.*: {where}",
            got=f"{value!r} ({type(value).__name__})",
            expected=f"{type(default).__name__}, e.g. {default!r}",
        )
    return value


def require(condition: bool, where: str, got: Any, expected: str) -> None:
    """Raise ConfigError when a processor's value is out of range."""
    if not condition:
        raise ConfigError(
            "a processor's value is out of range",
            where=f"*_processor.*: {where}",
            got=got,
            expected=expected,
        )
