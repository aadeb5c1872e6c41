"""Read .las and .laz scans (ASPRS) by laspy, after checks of what the header promises."""

from __future__ import annotations

import struct
from typing import IO, Any

import numpy as np

from lavis.common.errors import DependencyError
from lavis.datasets.readers.cloud import Cloud, make_cloud
from lavis.datasets.readers.numpy_files import MAX_CLOUD_BYTES

_VLRS_AT, _LEAST_HEADER = 100, 227  # number of variable-length records, bytes of the oldest header
_VLR_BYTES = 54
_KEPT = ("intensity", "classification")


def cloud_of_las(file: IO[bytes], size: int) -> Cloud:
    """Return the points of an open .las or .laz file, float64, with colours where it has them.

    Fields: intensity and classification.

    Raises:
        ValueError: a damaged or cut file, or more points than a cloud may have.
        DependencyError: laspy or lazrs is not installed.
    """
    try:
        import laspy
        import lazrs
    except ImportError as error:
        what, fix = "LAS and LAZ need laspy and lazrs", "pip install -r requirements.txt"
        raise DependencyError(what, got=str(error), fix=fix) from error
    _check_records(file, size)
    try:
        with laspy.open(file, closefd=False, read_evlrs=False) as reader:
            _check_size(reader.header, size)
            points = reader.read()
    except (laspy.errors.LaspyException, lazrs.LazrsError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    if len(points) != points.header.point_count:
        raise ValueError(f"{points.header.point_count:,} points declared, {len(points):,} found")
    names = set(points.point_format.dimension_names)
    fields = {name: np.array(points[name]) for name in _KEPT if name in names}
    xyz = np.stack([points.x, points.y, points.z], axis=1)  # [N,3]
    return make_cloud(xyz, _colors(points, names), fields)


def _check_records(file: IO[bytes], size: int) -> None:
    """Refuse more variable-length records than fit: each of them is read in a loop."""
    head = file.read(_LEAST_HEADER)
    file.seek(0)
    if len(head) < _LEAST_HEADER:
        raise ValueError(f"a LAS header of {len(head)} bytes")
    (records,) = struct.unpack_from("<I", head, _VLRS_AT)
    if records * _VLR_BYTES > size:
        raise ValueError(f"{records:,} variable-length records in {size:,} bytes")


def _check_size(header: Any, size: int) -> None:
    """Refuse points that the file cannot hold, or that unpack to more than a cloud has."""
    needed = header.point_count * header.point_format.size
    limit = MAX_CLOUD_BYTES if header.are_points_compressed else size - header.offset_to_point_data
    if needed > limit:
        raise ValueError(f"{header.point_count:,} points of {needed:,} bytes in {size:,} bytes")


def _colors(points: Any, names: set[str]) -> np.ndarray | None:
    """Return colours [N,3] of 8 or 16 bits in [0,1]; None where all are 0, as in scans without."""
    if not {"red", "green", "blue"} <= names:
        return None
    rgb = np.stack([points.red, points.green, points.blue], axis=1)  # uint16
    most = int(rgb.max(initial=0))
    if most == 0:
        return None
    return rgb.astype(np.float32) / np.float32(255 if most <= 255 else 65535)
