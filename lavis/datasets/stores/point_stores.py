"""Stores of a data set's clouds: one packed array, or one file per object."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from lavis.common.errors import DataError
from lavis.common.files import file_below
from lavis.datasets.readers.cloud import cloud_of_array, make_cloud
from lavis.datasets.readers.files import FIRST_ARRAY, read_cloud
from lavis.datasets.samples import check_equal_lengths
from lavis.datasets.stores.notes import Notes
from lavis.datasets.stores.object_ids import IDS_NAME, open_ids
from lavis.datasets.stores.packed_points import PackedPoints
from lavis.processors.point_transforms import PointFields, join_columns


class PointStore(Protocol):
    """Load a cloud by the object's id."""

    def load(self, object_id: str) -> np.ndarray:
        """Return [N,3|6]; DataError when it is absent or unreadable."""
        ...

    def scale(self, object_id: str) -> float:
        """Return the length of one unit of the object's xyz, in the data's own unit; default 1."""
        return 1.0


@runtime_checkable
class FieldStore(PointStore, Protocol):
    """A store that holds further fields of every point (stores/packed_fields.py)."""

    def load_points(self, object_id: str) -> PointFields:
        """Return `xyz` [N,3] and the other per-point fields."""
        ...

    def load(self, object_id: str) -> np.ndarray:
        """Return [N,3|6]; rgb in [0,1]."""
        return join_columns(self.load_points(object_id))


class PackedPointStore:
    """Clouds of a packed folder (`points_xyz.npy`, `points_rgb.npy`, `object_ids.json`)."""

    def __init__(self, folder: str | Path) -> None:
        self.points = PackedPoints(folder)
        path = Path(folder) / IDS_NAME
        try:
            self.row_of: Mapping[str, int] = open_ids(Path(folder))
        except (OSError, ValueError) as error:
            raise _unreadable(path, error) from error
        count = len(self.row_of)
        if count != len(self.points):
            raise _unreadable(path, f"{count} ids for {len(self.points)} clouds")

    def load_points(self, object_id: str) -> PointFields:
        """Return xyz in the unit sphere and rgb, each float32 [P,3]."""
        xyz, rgb = self.points.fields(self._row(object_id))
        return {"xyz": xyz, "rgb": rgb}

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
            "an annotation names an object that has no cloud",
            where=f"{folder}: object {object_id}",
            got="no such id in object_ids.json",
            fix="annotations and points must come from the same preparation",
        )
    return rows[object_id]


class FilePointStore(PointStore):
    """One file per object: .npy, .npz, .ply, .pcd, .pt or text (lavis/datasets/readers).

    Args:
        folder: root folder.
        pattern: path below it with {object_id}, e.g. "{object_id}/{object_id}_8192.npz".
        array_name: the array with the coordinates in an .npz or .pt; the default takes it where it
            is there, and else goes by the names of the arrays.
    """

    def __init__(
        self, folder: str | Path, pattern: str = "{object_id}.npy", array_name: str = FIRST_ARRAY
    ) -> None:
        self.folder, self.pattern, self.array_name = Path(folder), pattern, array_name
        self.notes = Notes(str(self.folder))

    def path(self, object_id: str) -> Path:
        """Return the file of an object, whether it exists or not.

        Raises:
            DataError: the id leads out of the folder.
        """
        return file_below(self.folder, self.pattern.format(object_id=object_id))

    def load(self, object_id: str) -> np.ndarray:
        """Return [N,3|6]: xyz as in the file (float32 or float64), rgb in [0,1].

        Raises:
            DataError: see `read_cloud`; the file and what it holds are named.
        """
        named = None if self.array_name == FIRST_ARRAY else self.array_name
        cloud = read_cloud(self.path(object_id), named, object_id)
        self.notes.say(object_id, cloud.notes)
        return cloud.joined()


# Of stores without colours in another range.
_OTHER_NOTES = Notes("point clouds")


def check_cloud(cloud: np.ndarray, object_id: str) -> np.ndarray:
    """Return a usable cloud as floats [N,3|6], with colours in [0,1].

    Coordinates keep float64 where they have it: the processor centres them before float32.

    Args:
        cloud: what a store returned.
        object_id: named in the message.

    Raises:
        DataError: not [N,3|6] numbers, no points, NaN or infinity, all points in one place, or
            colours outside [0,1] and 0 to 255.
    """
    try:
        checked = cloud_of_array(cloud)
    except ValueError as error:
        raise _unusable(object_id, error) from error
    _OTHER_NOTES.say(object_id, checked.notes)
    parts = [checked.xyz] if cloud.shape[1] == 3 else [checked.xyz, checked.rgb]
    is_same = all(part is not None and np.may_share_memory(part, cloud) for part in parts)
    return cloud if is_same else checked.joined()


def check_points(points: PointFields, object_id: str) -> PointFields:
    """Return named per-point fields when they are usable (see `check_cloud`).

    Raises:
        DataError: the coordinates or colours are unusable, or fields differ in length.
    """
    check_equal_lengths(points, f"object {object_id}")
    further = {name: values for name, values in points.items() if name not in ("xyz", "rgb")}
    try:
        checked = make_cloud(points["xyz"], points.get("rgb"), further)
    except ValueError as error:
        raise _unusable(object_id, error) from error
    _OTHER_NOTES.say(object_id, checked.notes)
    rgb = {} if checked.rgb is None else {"rgb": checked.rgb}
    return {**checked.fields, "xyz": checked.xyz, **rgb}


def _unusable(object_id: str, problem: object) -> DataError:
    return DataError(
        "a point cloud cannot be used",
        where=f"object {object_id}",
        got=problem,
        expected="[N,3] or [N,6] finite numbers, N >= 1, not all in one place; colours in [0,1] or "
        "0 to 255",
        fix="repair or remove the object, or allow a share by build_info.max_bad_fraction",
    )


def _unreadable(path: Path, problem: object) -> DataError:
    return DataError(
        "a point file cannot be read",
        where=str(path),
        got=f"{type(problem).__name__}: {problem}" if isinstance(problem, Exception) else problem,
        fix="restore the file, or prepare the data set again",
    )
