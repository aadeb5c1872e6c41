"""Cap3D's captions: the published csv over clouds of Objaverse, and GPT4Point's release of them."""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np

from lavis.common.errors import DataError
from lavis.common.text_files import read_json, read_text
from lavis.datasets.datasets.annotations import Entry
from lavis.datasets.readers.pickled_arrays import read_pickled
from lavis.datasets.sources.objaverse_files import read_ids
from lavis.datasets.sources.released import ReleasedSource
from lavis.datasets.stores.point_stores import FilePointStore, PointStore, check_cloud


class Cap3DSource(ReleasedSource):
    """Captions of a csv; a split is a list of uids, or the csv itself for every object."""

    origin = (
        "Cap3D_automated_Objaverse_full.csv (hub data set tiange/Cap3D): uid,caption without a "
        "header; splits: one uid a line"
    )

    def files(self) -> list[tuple[str, Path]]:
        """Return the files of a release, and the csv."""
        return [*super().files(), ("captions.storage", self.path("captions.storage"))]

    def read(self, path: Path) -> list[Entry]:
        """Return the captions of the listed uids; uids without a caption are counted."""
        if path == self.path("captions.storage"):
            uids = list(self.captions)
        else:
            uids = read_ids(path, self.key("annotations"))
        entries = [
            {"object_id": uid, "caption": self.captions[uid]}
            for uid in uids
            if uid in self.captions
        ]
        logging.info("%s: %d of %d uids have a caption", path, len(entries), len(uids))
        return entries

    @cached_property
    def captions(self) -> dict[str, list[str]]:
        """Every caption of each uid, in the order of the file."""
        path = self.path("captions.storage")
        return self.checked(path, lambda: read_csv_captions(path))


def read_csv_captions(path: Path) -> dict[str, list[str]]:
    """Return {uid: captions} of a csv with two columns and no header.

    Raises:
        ValueError: another number of columns, an empty uid, or damage; the line is named.
    """
    captions: dict[str, list[str]] = {}
    rows = csv.reader(read_text(path).splitlines(keepends=True), strict=True)
    try:
        for row in rows:
            if len(row) != 2 or not row[0].strip():
                raise ValueError(f"line {rows.line_num}: {len(row)} columns, expected uid,caption")
            captions.setdefault(row[0].strip(), []).append(row[1])
    except csv.Error as error:
        raise ValueError(f"line {rows.line_num}: {error}") from error
    return captions


class GPT4PointSource(ReleasedSource):
    """GPT4Point's lists of {point, caption} and its clouds <id>.pkl, [8192,3|6]."""

    origin = (
        "GPT4Point's release (hub data set alexzyqi/GPT4Point): lists of {point, caption}, where "
        "point ends in <id>.pkl, and points/Cap3D_pcs_8192_xyz_w_color/<id>.pkl"
    )

    def read(self, path: Path) -> list[Entry]:
        """Return a record per caption; the id is the file name of the cloud."""
        content = read_json(path)
        if not isinstance(content, list):
            raise ValueError(f"a {type(content).__name__}, no list of captions")
        return [_gpt4point_entry(number, record) for number, record in enumerate(content)]

    def open_store(self) -> PointStore:
        """Return the pickled clouds."""
        return PickledStore(self.path("points.storage"), self.info.points.pattern)


def _gpt4point_entry(number: int, record: object) -> Entry:
    point = record.get("point") if isinstance(record, Mapping) else None
    if not isinstance(record, Mapping) or not isinstance(point, str) or not point:
        raise ValueError(f"record {number}: no point")
    stem = point.rpartition("/")[2].removesuffix(".pkl")
    return {"object_id": stem, "caption": record.get("caption")}


class PickledStore(FilePointStore):
    """One pickled array per object, read without running the pickle."""

    def load(self, object_id: str) -> np.ndarray:
        """Return [N,3|6].

        Raises:
            DataError: the file is missing or damaged, or holds something else than a cloud.
        """
        path = self.path(object_id)
        try:
            cloud = read_pickled(path)
        except (OSError, ValueError) as error:
            raise _unreadable(path, error) from error
        if not isinstance(cloud, np.ndarray):
            raise _unreadable(path, f"a {type(cloud).__name__}, no array")
        return check_cloud(cloud, object_id)


def _unreadable(path: Path, got: object) -> DataError:
    what, fix = "a point file cannot be read", "restore the file, or remove the record"
    return DataError(what, where=str(path), got=got, expected="a pickled array [N,3|6]", fix=fix)


LAYOUTS: dict[str, type[ReleasedSource]] = {"csv": Cap3DSource, "gpt4point": GPT4PointSource}
