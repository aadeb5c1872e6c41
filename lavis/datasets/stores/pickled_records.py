"""Objects whose cloud, texts and features are one pickled mapping in a file, as OpenShape's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lavis.common.errors import DataError
from lavis.common.files import file_below
from lavis.datasets.readers.pickled_arrays import read_pickled
from lavis.datasets.stores.notes import Notes
from lavis.datasets.stores.point_stores import PointStore, check_cloud


class PickledRecordStore(PointStore):
    """Read `xyz` [N,3] and, where present, `rgb` [N,3] of a mapping, without running the pickle.

    The last record stays in memory: cloud, texts and features of a sample are one read.

    Args:
        folder: that the paths are below.
        paths: {object id: path}.
    """

    def __init__(self, folder: Path, paths: Mapping[str, str]) -> None:
        self.folder, self.paths = folder, paths
        self.notes = Notes(str(folder))
        self._last: tuple[str, dict[str, Any]] = ("", {})

    def path(self, object_id: str) -> Path:
        """Return the file of an object, whether it exists or not.

        Raises:
            DataError: no path is known, or it leads out of the folder.
        """
        if object_id not in self.paths:
            where = f"{self.folder}: object {object_id}"
            raise DataError("an object has no file", where=where)
        return file_below(self.folder, self.paths[object_id])

    def record(self, object_id: str) -> dict[str, Any]:
        """Return the mapping of an object.

        Raises:
            DataError: the file is missing or damaged, or holds no mapping with `xyz`.
        """
        known, content = self._last  # one read: clouds load in threads
        if known == object_id:
            return content
        path = self.path(object_id)
        try:
            content = read_pickled(path)
        except (OSError, ValueError) as error:
            raise _unreadable(path, f"{type(error).__name__}: {error}") from error
        if not isinstance(content, dict) or not isinstance(content.get("xyz"), np.ndarray):
            raise _unreadable(path, f"a {type(content).__name__} without xyz")
        self._last = object_id, content
        return content

    def load(self, object_id: str) -> np.ndarray:
        """Return [N,3|6]: xyz as stored, rgb in [0,1]."""
        record = self.record(object_id)
        parts = [record["xyz"], *([record["rgb"]] if record.get("rgb") is not None else [])]
        if any(not isinstance(p, np.ndarray) or p.shape != (len(parts[0]), 3) for p in parts):
            shapes = [getattr(part, "shape", type(part).__name__) for part in parts]
            raise _unreadable(self.path(object_id), f"xyz and rgb of shapes {shapes}")
        return check_cloud(np.concatenate(parts, axis=1), object_id)


def _unreadable(path: Path, got: object) -> DataError:
    what, fix = "a record of an object cannot be read", "restore the file, or remove the record"
    expected = "a pickled mapping with xyz [N,3] and rgb [N,3]"
    return DataError(what, where=str(path), got=got, expected=expected, fix=fix)
