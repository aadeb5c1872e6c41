"""Fixtures of the evaluation tests: small metrics records, and small objects for baselines."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent


def load(name: str) -> ModuleType:
    """Return a helper file as a module; `tests` is no package that may be imported."""
    path = HERE / name
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def table_records() -> ModuleType:
    """Makers of metrics records for tables and reports (table_records.py)."""
    return load("table_records.py")


@pytest.fixture(scope="session")
def toys() -> ModuleType:
    """Six coloured objects and their stand-in data set (baselines/toys.py)."""
    return load("baselines/toys.py")
