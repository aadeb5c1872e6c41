"""Compiled decoding gives numpy's values to the bit."""

from __future__ import annotations

import numpy as np
import pytest

from lavis.datasets.stores.decode import decode, decode_both


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16])
@pytest.mark.parametrize("divisor", [127, 255, 32767])
def test_every_stored_value_is_decoded_as_numpy_does(dtype: type, divisor: int) -> None:
    limits = np.iinfo(dtype)
    stored = np.arange(limits.min, int(limits.max) + 1).astype(dtype)
    values = decode(stored, 1 / divisor)
    assert values.dtype == np.float32
    assert np.array_equal(values, stored * np.float32(1 / divisor))


@pytest.mark.parametrize("shape", [(0, 3), (1, 3), (7, 3), (2, 5, 3), (11,)])
def test_any_shape_and_any_order_of_memory(shape: tuple[int, ...]) -> None:
    stored = np.random.default_rng(0).integers(-99, 99, shape).astype(np.int16)
    for given in (stored, np.asfortranarray(stored), stored[::-1]):
        values = decode(given, 0.5)
        assert values.flags.c_contiguous
        assert np.array_equal(values, given * np.float32(0.5))


@pytest.mark.parametrize("points", [0, 1, 13])
def test_two_rows_at_once_are_decoded_as_each_alone(points: int) -> None:
    rng = np.random.default_rng(0)
    xyz = rng.integers(-32767, 32768, (points, 3)).astype(np.int16)
    rgb = rng.integers(0, 256, (points, 3)).astype(np.uint8)
    both = decode_both(xyz, rgb, np.float32(1 / 32767), np.float32(1 / 255))
    for values, stored, divisor in zip(both, (xyz, rgb), (32767, 255), strict=True):
        assert values.flags.c_contiguous
        assert np.array_equal(values, stored * np.float32(1 / divisor))
