"""Where a data set's clouds come from: one packed array, or one file per object."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from lavis.common.errors import DataError, explain
from lavis.common.text_files import read_json
from lavis.datasets.samples import check_equal_lengths
from lavis.datasets.stores.packed_points import PackedPoints
from lavis.processors.point_transforms import PointFields

# What numpy and zipfile raise on damaged files; a flipped bit in a header asks for an unknown
# compression or encryption (RuntimeError) or for more memory than there is.
DAMAGE = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    RuntimeError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
)


MAX_CLOUD_BYTES = 2**30


class PointStore(Protocol):
    """Load a cloud by the object's id."""

    def load(self, object_id: str) -> np.ndarray:
        """Return [N,3|6]; DataError when it is absent or unreadable."""
        ...

    def scale(self, object_id: str) -> float:
        """Return the length of one unit of the object's xyz, in the data's own unit."""
        ...


@runtime_checkable
class FieldStore(PointStore, Protocol):
    """A store that holds further fields of every point (stores/packed_fields.py)."""

    def load_points(self, object_id: str) -> PointFields:
        """Return `xyz` [N,3] and the other per-point fields."""
        ...


class PackedPointStore:
    """Clouds of a packed folder (`points_xyz.npy`, `points_rgb.npy`, `object_ids.json`)."""

    def __init__(self, folder: str | Path) -> None:
        self.points = PackedPoints(folder)
        path = Path(folder) / "object_ids.json"
        try:
            ids: Sequence[str] = read_json(path)
        except (OSError, ValueError) as error:
            raise DataError(_unreadable(path, error)) from error
        if len(ids) != len(self.points):
            raise DataError(_unreadable(path, f"{len(ids)} ids for {len(self.points)} clouds"))
        self.row_of: Mapping[str, int] = {object_id: row for row, object_id in enumerate(ids)}

    def load(self, object_id: str) -> np.ndarray:
        """Return float32 [P,6], xyz in the unit sphere."""
        return self.points[self._row(object_id)]

    def scale(self, object_id: str) -> float:
        """Return the radius of the object's unit sphere."""
        return float(self.points.scale[self._row(object_id)])

    def box_sizes(self) -> dict[str, np.ndarray]:
        """Return {object id: bounding box [3]} in the data's own unit."""
        sizes = self.points.box_sizes()
        return {object_id: sizes[row] for object_id, row in self.row_of.items()}

    def _row(self, object_id: str) -> int:
        return row_of(self.row_of, object_id, self.points.folder)


def row_of(rows: Mapping[str, int], object_id: str, folder: Path) -> int:
    """Return the row of an object.

    Raises:
        DataError: there is none.
    """
    if object_id not in rows:
        raise DataError(
            explain(
                "an annotation names an object that has no cloud",
                where=f"{folder}: object {object_id}",
                got="no such id in object_ids.json",
                fix="annotations and points must come from the same preparation",
            )
        )
    return rows[object_id]


class FilePointStore:
    """One .npy or .npz file per object.

    Args:
        folder: root folder.
        pattern: path below it with {object_id}, e.g. "{object_id}/{object_id}_8192.npz".
        array_name: the array inside an .npz.
    """

    def __init__(
        self, folder: str | Path, pattern: str = "{object_id}.npy", array_name: str = "arr_0"
    ) -> None:
        self.folder, self.pattern, self.array_name = Path(folder), pattern, array_name

    def path(self, object_id: str) -> Path:
        """Return the file of an object, whether it exists or not."""
        return self.folder / self.pattern.format(object_id=object_id)

    def load(self, object_id: str) -> np.ndarray:
        """Return [N,C] as stored. Pickled content is refused, never run."""
        path = self.path(object_id)
        try:
            content: Any = np.load(path, allow_pickle=False)
            if isinstance(content, np.lib.npyio.NpzFile):
                with content:
                    _refuse_bomb(content, self.array_name)
                    return content[self.array_name]
            return content
        except DAMAGE as error:
            raise DataError(_unreadable(path, error)) from error

    def scale(self, object_id: str) -> float:
        """Return 1: files keep the unit they are in."""
        return 1.0


def _refuse_bomb(content: Any, array_name: str) -> None:
    """Raise ValueError for a member that would unpack to more than any cloud needs."""
    for info in content.zip.infolist():
        if info.filename.removesuffix(".npy") == array_name and info.file_size > MAX_CLOUD_BYTES:
            raise ValueError(f"{info.file_size:,} bytes when unpacked")


def check_cloud(cloud: np.ndarray, object_id: str) -> np.ndarray:
    """Return the cloud as float32 when it is usable.

    Args:
        cloud: what a store returned.
        object_id: named in the message.

    Raises:
        DataError: not [N,3|6] numbers, no points, NaN or infinity, or all points in one place.
    """
    problem = _problem(cloud)
    if problem is not None:
        raise DataError(
            explain(
                "a point cloud cannot be used",
                where=f"object {object_id}",
                got=problem,
                expected="[N,3] or [N,6] finite numbers, N >= 1, not all in one place",
                fix="repair or remove the object, or allow a share by build_info.max_bad_fraction",
            )
        )
    return cloud.astype(np.float32, copy=False)


def check_points(points: PointFields, object_id: str) -> PointFields:
    """Return named per-point fields when they are usable.

    Raises:
        DataError: the coordinates are unusable (see `check_cloud`), or fields differ in length.
    """
    check_equal_lengths(points, f"object {object_id}")
    return {**points, "xyz": check_cloud(points["xyz"], object_id)}


def _problem(cloud: np.ndarray) -> str | None:
    if cloud.dtype.kind not in "fiu":
        return f"values of type {cloud.dtype}"
    if cloud.ndim != 2 or cloud.shape[1] not in (3, 6):
        return f"shape {cloud.shape}"
    if len(cloud) == 0:
        return "no points"
    if not np.isfinite(cloud).all():
        return f"{int((~np.isfinite(cloud)).any(axis=1).sum())} points with NaN or infinity"
    if len(cloud) > 1 and not np.ptp(cloud[:, :3], axis=0).any():
        return "all points in one place"
    return None


def _unreadable(path: Path, problem: object) -> str:
    return explain(
        "a point file cannot be read",
        where=str(path),
        got=repr(problem) if isinstance(problem, Exception) else problem,
        fix="restore the file, or prepare the data set again",
    )
