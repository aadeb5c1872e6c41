"""Strict JSON: what the standard forbids is a ValueError that names its place.

Python's parser accepts NaN, turns 1e400 into infinity, keeps the last of two equal keys and returns
half a surrogate pair as a text that no file can hold. Each of these would fail long after reading,
or never.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def to_plain(value: Any) -> Any:
    """Return a value with tensors, numpy values, paths and tuples as what JSON can hold."""
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return to_plain(value.tolist()) if hasattr(value, "tolist") else value


def parse_json(text: str) -> Any:
    """Return the content of a JSON text.

    Raises:
        ValueError: not JSON; nested too deeply; NaN, an infinite number, a key given twice or half
            of a surrogate pair, with its place, e.g. `[3].caption`.
    """
    suspicious = _ESCAPED_SURROGATE.search(text) is not None

    def number(literal: str) -> float:
        nonlocal suspicious
        value = float(literal)
        suspicious = suspicious or not math.isfinite(value)
        return value

    try:
        content = json.loads(
            text, parse_float=number, parse_constant=number, object_pairs_hook=_unique
        )
    except RecursionError:
        raise ValueError("lists or mappings are nested too deeply") from None
    if suspicious:
        refuse_unwritable(content)
    return content


def refuse_unwritable(content: Any) -> None:
    """Refuse what strict JSON and UTF-8 cannot hold in nested lists and mappings.

    Raises:
        ValueError: with the place and the value of the first.
    """
    for place, value in unwritable(content):
        raise ValueError(f"{place or 'the content'}: {problem_of(value)}")


def unwritable(content: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (place, value) of numbers that are not finite and texts with half a surrogate pair."""
    if isinstance(content, Mapping):
        for key, value in content.items():
            inner = f"{place}.{ascii(str(key))[1:-1]}".lstrip(".")
            if isinstance(key, str) and _SURROGATE.search(key):
                yield inner, key
            yield from unwritable(value, inner)
    elif isinstance(content, list | tuple):
        for number, value in enumerate(content):
            yield from unwritable(value, f"{place}[{number}]")
    elif _is_unwritable(content):
        yield place, content


def problem_of(value: Any) -> str:
    """Return what is wrong with a value of `unwritable`, in characters of ASCII."""
    if isinstance(value, float):
        return f"{value} is not a finite number"
    return f"half of a surrogate pair in {value[:60]!a}, which is no text"


def _is_unwritable(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    return isinstance(value, str) and _SURROGATE.search(value) is not None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a mapping; refuse a key that is given twice."""
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        first = next((f"{k}: {v}" for k, v in pairs if isinstance(v, str | int)), "")
        raise ValueError(f"the key {twice!a} is given twice, in the record {first[:60]!a}")
    return content
