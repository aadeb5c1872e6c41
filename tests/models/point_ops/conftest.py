"""Clouds that provoke ties, for the tests of the point operators."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch


@pytest.fixture(scope="session")
def tied_clouds() -> Callable[[int, int, int], torch.Tensor]:
    """A function (seed, B, N) -> float32 [B,N,3] on a small grid: many equal distances."""

    def make(seed: int, batch_size: int, num_points: int) -> torch.Tensor:
        rng = np.random.default_rng(seed)
        points = rng.integers(-2, 3, (batch_size, num_points, 3)) * 0.5
        return torch.from_numpy(points.astype(np.float32))

    return make
