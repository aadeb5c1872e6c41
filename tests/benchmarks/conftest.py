"""Fixtures of the benchmark tests."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def scored_subset() -> ModuleType:
    """Writer of the committed subset's result files (scored_subset.py)."""
    path = Path(__file__).with_name("scored_subset.py")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
