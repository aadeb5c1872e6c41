"""A small cloud and helpers that write it in other formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def points() -> tuple[np.ndarray, np.ndarray]:
    """Return 40 points [40,3] in metres of a map projection, and colours uint8 [40,3]."""
    rng = np.random.default_rng(0)
    xyz = rng.uniform(-0.4, 0.4, (40, 3)).round(6) + np.array([512345.0, 5654321.0, 112.0])
    rgb = rng.integers(0, 256, (40, 3)).astype(np.uint8)
    rgb[0] = 255
    return xyz, rgb


@pytest.fixture
def assert_cloud(points):
    """Compare a cloud with `points`: coordinates to the bit, colours divided by 255."""

    def compare(cloud) -> None:
        assert cloud.xyz.dtype == np.float64
        np.testing.assert_array_equal(cloud.xyz, points[0])
        assert cloud.rgb.dtype == np.float32
        np.testing.assert_array_equal(cloud.rgb, points[1].astype(np.float32) / np.float32(255))

    return compare


@pytest.fixture
def write(tmp_path):
    """Write bytes or text to a file of a name; returns its path."""

    def to_file(name: str, content: bytes | str) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return to_file
