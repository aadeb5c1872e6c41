"""How far two checkpoints are apart."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lavis.common.checkpoint import load_checkpoint_file

STATE = ("model", "optimizer", "scaler", "ema", "state", "rng")


def difference(first: Any, second: Any) -> float:
    """Return the largest absolute difference ."""
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        if first.shape != second.shape:
            return float("inf")
        return float((first.double() - second.double()).abs().max()) if first.numel() else 0.0
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        if first.keys() != second.keys():
            return float("inf")
        return max((difference(first[key], second[key]) for key in first), default=0.0)
    if isinstance(first, (list, tuple)) and isinstance(second, (list, tuple)):
        if len(first) != len(second):
            return float("inf")
        return max((difference(a, b) for a, b in zip(first, second)), default=0.0)
    if isinstance(first, float) and isinstance(second, float):
        return abs(first - second)
    return 0.0 if first == second else float("inf")


def checkpoint_difference(first: Path, second: Path) -> float:
    """Return the largest difference of weights, optimiser, scaler, average, state and RNG."""
    one, two = load_checkpoint_file(first), load_checkpoint_file(second)
    return max(difference(one.get(key), two.get(key)) for key in STATE)
