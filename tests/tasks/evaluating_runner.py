"""A stand-in for the runner of an evaluation: what a task reads when it writes its results."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any


def runner_in(folder: Path, evaluate_only: bool = True, **config: Any) -> SimpleNamespace:
    """Return a runner whose results go to `folder`; `config` is the recipe that they quote."""
    folder.mkdir(parents=True, exist_ok=True)
    return SimpleNamespace(
        result_dir=folder,
        evaluate_only=evaluate_only,
        evaluated_checkpoint=None,
        unwrapped_model=SimpleNamespace(loaded_checkpoint=None),
        config=SimpleNamespace(to_dict=lambda: config),
    )
