"""Clouds of different size with named per-point fields, packed into one array a field.

    with PackedFieldWriter(folder, {"xyz": FIELD_LAYOUTS["xyz"], "semantic_label": ...}) as writer:
        writer.write("scene0000_00", {"xyz": xyz, "semantic_label": labels})
    points = PackedFieldStore(folder).load_points("scene0000_00")

    field_<name>.npy     [M] or [M,width], the points of all objects one after the other
    points_offsets.npy   int64 [n+1], object i has the rows offsets[i]:offsets[i+1]
    points_scale.npy     float32 [n], length of one unit of xyz in the data's own unit
    object_ids.json      the n ids, with an index (stores/object_ids.py)
    manifest.json        layouts, counts, size and sha256 of every file; written last

The folder appears under its name in one step, when everything is on the disk. Reading is by memory
map: opening costs nothing, and processes share the pages.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from lavis.common.errors import DataError
from lavis.datasets.manifest import verify_once, write_manifest
from lavis.datasets.readers.values import coordinate_problem, rounding_problem, unit_colors
from lavis.datasets.samples import check_equal_lengths
from lavis.datasets.stores.decode import decode
from lavis.datasets.stores.object_ids import open_ids, write_ids
from lavis.datasets.stores.point_stores import FieldStore, row_of
from lavis.processors.point_transforms import PointFields

KIND = "packed point fields"
OFFSETS_NAME, SCALE_NAME = "points_offsets.npy", "points_scale.npy"


@dataclass(frozen=True)
class FieldLayout:
    """How a per-point field is stored.

    Attributes:
        dtype: of the array on the disk.
        width: values per point; 0 is one value without an axis.
        quantum: value of one step of an integer dtype, for real numbers; None stores as given.
    """

    dtype: str
    width: int = 0
    quantum: float | None = None

    def stored(self, values: np.ndarray) -> np.ndarray:
        """Return values that are as stored.

        Raises:
            ValueError: wrong shape or dtype.
        """
        self._check_shape(values)
        if values.dtype != self.dtype:
            raise ValueError(f"{values.dtype} instead of {self.dtype}")
        return values

    def _check_shape(self, values: np.ndarray) -> None:
        shape = (len(values), self.width) if self.width else (len(values),)
        if values.shape != shape:
            raise ValueError(f"shape {values.shape} instead of {shape}")

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Return values as stored.

        Raises:
            ValueError: wrong shape, or values that the dtype cannot hold.
        """
        self._check_shape(values)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ValueError("NaN or infinity")
        steps = values if self.quantum is None else np.rint(values / self.quantum)
        with np.errstate(invalid="ignore", over="ignore"):
            stored = steps.astype(self.dtype)
        exact = stored.dtype.kind != "f"
        if not (np.array_equal(stored, steps) if exact else np.isfinite(stored).all()):
            raise ValueError(f"values from {values.min()} to {values.max()} in {self.dtype}")
        return stored

    def decode(self, stored: np.ndarray) -> np.ndarray:
        """Return stored rows as values: float32 where they were quantised."""
        if self.quantum is None:
            return np.array(stored)
        return decode(stored, self.quantum)


# Layouts to choose from; a writer may be given others.
FIELD_LAYOUTS: dict[str, FieldLayout] = {
    "xyz": FieldLayout("float32", 3),
    "rgb": FieldLayout("uint8", 3, 1 / 255),
    "normal": FieldLayout("int8", 3, 1 / 127),
    "semantic_label": FieldLayout("int32"),
    "instance_label": FieldLayout("int32"),
    "pixel_of_point": FieldLayout("int32", 2),
}
UNIT_XYZ = FieldLayout("int16", 3, 1 / 32767)  # coordinates in the unit sphere, half the bytes


class PackedFieldWriter:
    """Write objects one after the other; leaving the `with` block puts the folder in place.

    Args:
        folder: must not exist yet.
        layouts: the fields of every object, `xyz` among them.
        facts: JSON values to keep in the manifest (parameters, source versions).

    Raises:
        DataError: the folder exists, or there is no `xyz`.
    """

    def __init__(
        self, folder: str | Path, layouts: Mapping[str, FieldLayout], **facts: Any
    ) -> None:
        self.folder, self.layouts, self.facts = Path(folder), dict(layouts), facts
        if self.folder.exists() or "xyz" not in layouts:
            raise DataError(
                "packed fields cannot be written",
                where=str(folder),
                got="the folder exists" if self.folder.exists() else sorted(layouts),
                expected="a new folder, and xyz among the fields",
            )
        self.partial = self.folder.with_name(f".{self.folder.name}.partial-{os.getpid()}")
        self.partial.mkdir(parents=True)
        self.object_ids: dict[str, int] = {}
        self.offsets: list[int] = [0]
        self.scales: list[float] = []
        self._files = {name: self._open(name) for name in self.layouts}

    def write(
        self, object_id: str, points: PointFields, scale: float = 1.0, *, is_stored: bool = False
    ) -> None:
        """Append one object.

        Args:
            object_id: not written before.
            points: every field of the layouts, one row per point.
            scale: length of one unit of xyz, in the data's own unit.
            is_stored: the fields are as the layouts store them, checked already.

        Raises:
            DataError: naming the object: other fields, unequal lengths, no points, or values that
                the layout cannot hold.
        """
        if object_id in self.object_ids or set(points) != set(self.layouts):
            got = "written twice" if object_id in self.object_ids else sorted(points)
            raise _refused(object_id, got, sorted(self.layouts))
        count = check_equal_lengths(points, f"object {object_id}")
        if count == 0:
            raise _refused(object_id, "no points", "at least one")
        rows = {}
        for name, layout in self.layouts.items():
            try:
                values = np.asarray(points[name])
                encode = layout.stored if is_stored else layout.encode
                rows[name] = encode(values if is_stored else _encodable(name, layout, values))
            except ValueError as error:
                raise _refused(object_id, f"{name}: {error}", layout) from error
        for name, stored in rows.items():
            self._files[name].write(np.ascontiguousarray(stored).tobytes())
        self.object_ids[object_id] = len(self.object_ids)
        self.offsets.append(self.offsets[-1] + count)
        self.scales.append(scale)

    def __enter__(self) -> PackedFieldWriter:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if error is None:
                self._finish()
        finally:
            for file in self._files.values():
                file.close()
            shutil.rmtree(self.partial, ignore_errors=True)

    def _finish(self) -> None:
        """Complete the headers, write the manifest, and rename the folder."""
        for name, file in self._files.items():
            file.seek(0)
            self._write_header(file, name)
            file.flush()
            os.fsync(file.fileno())
        np.save(self.partial / OFFSETS_NAME, np.array(self.offsets, np.int64))
        np.save(self.partial / SCALE_NAME, np.array(self.scales, np.float32))
        write_ids(self.partial, list(self.object_ids))
        layouts = {name: asdict(layout) for name, layout in self.layouts.items()}
        write_manifest(self.partial, kind=KIND, layouts=layouts, **self.facts)
        os.rename(self.partial, self.folder)

    def _open(self, name: str) -> IO[bytes]:
        file = open(self.partial / f"field_{name}.npy", "wb")  # noqa: SIM115 - closed in __exit__
        self._write_header(file, name)
        return file

    def _write_header(self, file: IO[bytes], name: str) -> None:
        """Write the .npy header for the rows so far; numpy pads it, so that its size stays."""
        layout, rows = self.layouts[name], self.offsets[-1]
        shape = (rows, layout.width) if layout.width else (rows,)
        descr = np.lib.format.dtype_to_descr(np.dtype(layout.dtype))
        header = {"descr": descr, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)


class PackedFieldStore(FieldStore):
    """Read what `PackedFieldWriter` wrote. Safe to fork and to pickle: a copy opens it again.

    Raises:
        DataError: the folder is unfinished or damaged.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        manifest = verify_once(self.folder)
        try:
            layouts = manifest["layouts"].items()
            self.layouts = {name: FieldLayout(**layout) for name, layout in layouts}
            self.offsets = np.load(self.folder / OFFSETS_NAME, allow_pickle=False)
            self.scales = np.load(self.folder / SCALE_NAME, allow_pickle=False)
            self.row_of = open_ids(self.folder)
            self.arrays = {name: self._array(name) for name in self.layouts}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._damaged(repr(error)) from error
        ends = {len(array) for array in self.arrays.values()} | {int(self.offsets[-1])}
        counts = {len(self.row_of), len(self.scales), len(self.offsets) - 1}
        if len(ends) > 1 or len(counts) > 1 or (np.diff(self.offsets) < 1).any():
            raise self._damaged(f"{sorted(ends)} points, {sorted(counts)} objects")

    def __len__(self) -> int:
        return len(self.row_of)

    def load_points(self, object_id: str) -> PointFields:
        """Return every field of an object, one row per point."""
        row = self._row(object_id)
        rows = slice(int(self.offsets[row]), int(self.offsets[row + 1]))
        return {name: self.layouts[name].decode(array[rows]) for name, array in self.arrays.items()}

    def num_points(self, object_id: str) -> int:
        """Return the number of points of an object, without reading them."""
        row = self._row(object_id)
        return int(self.offsets[row + 1] - self.offsets[row])

    def scale(self, object_id: str) -> float:
        """Return the length of one unit of the object's xyz, in the data's own unit."""
        return float(self.scales[self._row(object_id)])

    def _array(self, name: str) -> np.ndarray:
        array = np.load(self.folder / f"field_{name}.npy", mmap_mode="r", allow_pickle=False)
        layout = self.layouts[name]
        width = (layout.width,) if layout.width else ()
        if array.dtype != layout.dtype or array.shape[1:] != width:
            raise ValueError(f"field_{name}.npy is {array.dtype} {array.shape}, not {layout}")
        return array.view(np.ndarray)  # an access to a memmap costs two microseconds

    def _row(self, object_id: str) -> int:
        return row_of(self.row_of, object_id, self.folder)

    def _damaged(self, got: str) -> DataError:
        return DataError(
            "packed point fields cannot be read",
            where=str(self.folder),
            got=got,
            expected="a folder that PackedFieldWriter finished",
            fix="delete the folder and write it again",
        )

    def __getstate__(self) -> dict[str, Path]:
        return {"folder": self.folder}

    def __setstate__(self, state: dict[str, Path]) -> None:
        self.__init__(state["folder"])  # type: ignore[misc]


def _encodable(name: str, layout: FieldLayout, values: np.ndarray) -> np.ndarray:
    """Return values that keep their meaning in a layout: colours in [0,1], places not rounded away.

    Raises:
        ValueError: with the range.
    """
    if name == "rgb" and values.shape[1:] == (3,):
        colors = unit_colors(values).rgb
        if colors is None:
            raise ValueError("normals in place of colours")
        return colors if layout.quantum or np.dtype(layout.dtype).kind == "f" else values
    if name == "xyz" and values.shape[1:] == (3,):
        problem = coordinate_problem(values)
        if problem is None and np.dtype(layout.dtype) == np.float32:
            problem = rounding_problem(values)
        if problem is not None:
            raise ValueError(f"{problem}; subtract the object's centre before writing")
    return values


def _refused(object_id: str, got: object, expected: object) -> DataError:
    return DataError(
        "an object cannot be packed",
        where=f"object {object_id}",
        got=got,
        expected=str(expected),
        fix="repair the object or leave it out",
    )
