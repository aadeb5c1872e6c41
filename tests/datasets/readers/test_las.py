"""LAS and LAZ: points in map coordinates, colours of both depths, and files that lie."""

from __future__ import annotations

import struct
from pathlib import Path

import laspy
import numpy as np
import pytest

from lavis.common.errors import DataError
from lavis.datasets.readers.files import read_cloud

XYZ = np.array([[500_000.25, 4_000_000.5, 10.0], [500_001.0, 4_000_002.0, 12.5], [5e5, 4e6, 11.0]])
RGB = np.array([[0, 128, 255], [10, 20, 30], [255, 255, 0]], np.uint16)


def write_scan(path: Path, rgb: np.ndarray | None = RGB * 257, point_format: int = 2) -> Path:
    """Write a scan of three points."""
    header = laspy.LasHeader(point_format=point_format, version="1.2")
    header.scales, header.offsets = np.full(3, 0.001), XYZ.min(axis=0)
    scan = laspy.LasData(header)
    scan.x, scan.y, scan.z = XYZ.T
    scan.intensity = np.array([1, 2, 3], np.uint16)
    if rgb is not None:
        scan.red, scan.green, scan.blue = rgb.T
    scan.write(path)
    return path


@pytest.mark.parametrize("suffix", [".las", ".laz"])
@pytest.mark.parametrize("factor", [1, 257])
def test_points_and_colours_of_8_and_16_bits(tmp_path: Path, suffix: str, factor: int) -> None:
    cloud = read_cloud(write_scan(tmp_path / f"scan{suffix}", RGB * factor))
    np.testing.assert_allclose(cloud.xyz, XYZ, atol=1e-3)
    np.testing.assert_allclose(cloud.rgb, RGB / 255, atol=1e-6)
    assert cloud.fields["intensity"].tolist() == [1, 2, 3]


@pytest.mark.parametrize(("rgb", "point_format"), [(RGB * 0, 2), (None, 0)])
def test_a_scan_without_colours_has_none(tmp_path: Path, rgb, point_format: int) -> None:
    assert read_cloud(write_scan(tmp_path / "scan.las", rgb, point_format)).rgb is None


@pytest.mark.parametrize("suffix", [".las", ".laz"])
@pytest.mark.parametrize("kept", [100, 240, -30])
def test_a_cut_scan_is_refused(tmp_path: Path, suffix: str, kept: int) -> None:
    path = write_scan(tmp_path / f"scan{suffix}")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DataError, match="cannot be read"):
        read_cloud(path)


@pytest.mark.parametrize("suffix", [".las", ".laz"])
@pytest.mark.parametrize(("place", "what"), [(100, "records"), (107, "points|Laz|Las|Error")])
def test_a_header_that_promises_too_much_is_refused(
    tmp_path: Path, suffix: str, place: int, what: str
) -> None:
    path = write_scan(tmp_path / f"scan{suffix}")
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, place, 2**32 - 1)
    path.write_bytes(content)
    with pytest.raises(DataError, match=what):
        read_cloud(path)


def test_random_bytes_behind_the_start_are_data_errors(tmp_path: Path) -> None:
    rng, path = np.random.default_rng(0), write_scan(tmp_path / "scan.laz")
    content = path.read_bytes()
    for _ in range(100):
        damaged = bytearray(content)
        for place in rng.integers(4, len(damaged), 4):
            damaged[place] = int(rng.integers(256))
        path.write_bytes(damaged)
        try:
            assert np.isfinite(read_cloud(path).xyz).all()
        except DataError:
            continue
