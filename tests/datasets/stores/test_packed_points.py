"""Packed point clouds: round trip, sharing, damage."""

from __future__ import annotations

import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pytest

from lavis.common.errors import DataError, ShapeError
from lavis.datasets.stores.packed_points import PackedPoints, PackedPointWriter, pack_rgb, pack_xyz


@pytest.fixture
def packed(tmp_path: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    """Three clouds of 16 points and what was written."""
    rng = np.random.default_rng(0)
    xyz = rng.uniform(-1, 1, (3, 16, 3))
    rgb = rng.integers(0, 256, (3, 16, 3), dtype=np.uint8)
    with PackedPointWriter(tmp_path, 3, 16) as writer:
        for row in range(3):
            writer.write(row, xyz[row], rgb[row], scale=row + 0.5)
    return tmp_path, xyz, rgb


def test_row_returns_what_was_written_within_half_a_step(packed) -> None:
    folder, xyz, rgb = packed
    cloud = PackedPoints(folder)[1]
    assert cloud.dtype == np.float32
    assert cloud.shape == (16, 6)
    np.testing.assert_allclose(cloud[:, :3], xyz[1], atol=0.5 / 32767 + 1e-7)
    np.testing.assert_allclose(cloud[:, 3:], rgb[1] / 255.0, atol=1e-6)
    assert PackedPoints(folder).scale.tolist() == [0.5, 1.5, 2.5]


def test_box_sizes_are_in_the_data_s_unit(packed) -> None:
    folder, xyz, _ = packed
    expected = np.ptp(xyz, axis=1) * np.array([0.5, 1.5, 2.5])[:, None]
    np.testing.assert_allclose(PackedPoints(folder).box_sizes(), expected, atol=2e-4)


def test_batch_equals_rows(packed) -> None:
    points = PackedPoints(packed[0])
    xyz, rgb = points.batch([2, 0])
    for place, row in enumerate((2, 0)):
        np.testing.assert_array_equal(xyz[place], points[row][:, :3])
        np.testing.assert_array_equal(rgb[place], points[row][:, 3:])


def test_extremes_are_exact() -> None:
    assert pack_xyz(np.array([-1.0, 0.0, 1.0])).tolist() == [-32767, 0, 32767]


def test_colours_of_either_range_become_bytes() -> None:
    rgb = np.array([[0, 128, 255], [17, 51, 204]])
    for given in (rgb.astype(np.uint8), rgb, rgb.astype(np.float32), rgb / 255):
        np.testing.assert_array_equal(pack_rgb(given), rgb)
    np.testing.assert_array_equal(pack_rgb(np.array([0.0, 0.2, 1.0])), [0, 51, 255])


@pytest.mark.parametrize("rgb", [np.full((4, 3), -0.5), np.full((4, 3), 1.5), np.eye(3) * -1])
def test_colours_of_another_range_are_refused(rgb: np.ndarray) -> None:
    with pytest.raises(ShapeError, match="colours cannot be packed"):
        pack_rgb(rgb)


@pytest.mark.parametrize("scale", [0.0, -1.0, np.inf, 1e300])
def test_a_size_that_is_none_is_refused(scale: float, tmp_path: Path) -> None:
    with PackedPointWriter(tmp_path, 1, 4) as writer, pytest.raises(ShapeError, match="scale"):
        writer.write(0, np.zeros((4, 3)), np.zeros(3, np.uint8), scale)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1.5])
def test_unpackable_coordinate_is_refused(value: float) -> None:
    with pytest.raises(ShapeError, match="finite values"):
        pack_xyz(np.array([[value, 0.0, 0.0]]))


def test_pickled_reader_opens_the_files_again(packed) -> None:
    points = PackedPoints(packed[0])
    assert len(pickle.dumps(points)) < 2000  # the arrays do not travel
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(points))[2], points[2])


def _sum_of_row(points: PackedPoints, row: int, queue: multiprocessing.Queue) -> None:
    queue.put(float(points[row].sum()))


def test_forked_process_reads_the_same(packed) -> None:
    points = PackedPoints(packed[0])
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=_sum_of_row, args=(points, 1, queue))
    process.start()
    assert queue.get(timeout=20) == float(points[1].sum())
    process.join()


def test_truncated_file_is_named(packed) -> None:
    path = packed[0] / "points_xyz.npy"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DataError, match=r"points_xyz\.npy"):
        PackedPoints(packed[0])


def test_pickled_array_is_refused(packed) -> None:
    np.save(packed[0] / "points_rgb.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"points_rgb\.npy"):
        PackedPoints(packed[0])


def test_wrong_layout_is_refused(packed) -> None:
    np.save(packed[0] / "points_xyz.npy", np.zeros((3, 16, 3), dtype=np.float32))
    with pytest.raises(DataError, match="int16"):
        PackedPoints(packed[0])
