"""Names that stock LAVIS has and our layer has not: imported on request, or refused."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

from lavis.common.errors import ConfigError, DependencyError, nearest
from lavis.common.registry import registry

_FOLDERS = {"model": "models", "processor": "processors", "builder": "datasets/builders"}


def registered(kind: str, name: str) -> Any:
    """Return the class registered under a name; one of stock LAVIS is imported first.

    Args:
        kind: `model`, `processor` or `builder`.
        name: e.g. `point_blip`.

    Raises:
        ConfigError: neither our layer nor stock LAVIS has the name.
        DependencyError: stock LAVIS has it, and it cannot be imported on today's libraries.
    """
    known = registry.mapping[f"{kind}_name_mapping"]
    if name not in known:
        module = _stock_module(kind, name)
        if module is None:
            what = f"unknown {kind} {name!r}.{nearest(name, known)}"
            raise ConfigError(what, expected=f"one of {sorted(known)}")
        _import_stock(module, kind, name)
    return known[name]


def _stock_module(kind: str, name: str) -> str | None:
    """Return the module of the installed LAVIS that registers a name; its files are not run."""
    root = Path(importlib.import_module("lavis.common.registry").__file__ or "").parents[1]
    pattern = re.compile(rf"register_{kind}\([\"']{re.escape(name)}[\"']\)")
    for path in sorted((root / _FOLDERS[kind]).rglob("*.py")):
        if pattern.search(path.read_text(encoding="utf-8")):
            return ".".join(("lavis", *path.relative_to(root).with_suffix("").parts))
    return None


def _import_stock(module: str, kind: str, name: str) -> None:
    # Stock modules fail in many ways on today's libraries; each of them means the same to a user.
    try:
        importlib.import_module(module)
    except Exception as error:
        raise DependencyError(
            f"the {kind} {name!r} of salesforce-lavis cannot be imported on today's libraries",
            where=module,
            got=f"{type(error).__name__}: {error}",
            expected="what salesforce-lavis 1.0.2 pins, e.g. transformers<4.27",
            fix=f"install salesforce-lavis with its own pins elsewhere, or use a {kind} of "
            "this project (print lavis.models.model_zoo)",
        ) from error
    if name not in registry.mapping[f"{kind}_name_mapping"]:
        what = f"{module} is replaced by this project and has no {kind} {name!r}"
        raise DependencyError(what, fix="see lavis/README.md for what is replaced")
