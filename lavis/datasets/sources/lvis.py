"""Objaverse-LVIS: about 46,800 objects of Objaverse with one of 1,156 classes of LVIS each.

Three layouts of the same annotation: OpenShape's list (with its records), Objaverse's own mapping
of classes to uids (over any clouds), and ULIP-2's list (with its records). Labels follow the names'
alphabetical order, as published.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from lavis.common.strict_json import parse_json
from lavis.common.text_files import decode, read_json
from lavis.datasets.datasets.annotations import Entry
from lavis.datasets.datasets.point_text_datasets import PointTextDataset
from lavis.datasets.sources.openshape import RecordFilesSource
from lavis.datasets.sources.released import ReleasedSource

MAX_BYTES = 2**28  # of an unpacked list; Objaverse's has 2 MB


class _LvisSource(ReleasedSource):
    """Classes of the objects, with LVIS' own names under `lvis_class`."""

    def class_names(self) -> Sequence[str]:
        """Return the names with spaces, in the order of LVIS' own names."""
        return [_readable(name) for name in self._classes]

    @cached_property
    def _classes(self) -> list[str]:
        paths = [path for split in self.splits for path in self.paths(split)]
        return sorted({entry["lvis_class"] for entry in self.records(paths)})


def _entry(uid: Any, name: Any, path: str = "") -> Entry:
    """Return the record of an object.

    Raises:
        ValueError: no uid or no class.
    """
    if not isinstance(uid, str) or not uid or not isinstance(name, str) or not name:
        raise ValueError(f"object {uid!r} of class {name!r}: both have to be text")
    readable = _readable(name)
    entry = {"object_id": uid, "lvis_class": name, "category": readable, "caption": readable}
    return entry | ({"data_path": path} if path else {})


def _readable(name: str) -> str:
    return name.replace("_", " ").lower()


class _LvisRecords(RecordFilesSource, _LvisSource):
    """A layout with OpenShape's records, whose image features an evaluation may use."""

    def open_split(self, split: str, mode: str, points: Any, texts: Any) -> PointTextDataset:
        """Return one split, with the features of views where they are wanted."""
        dataset = super().open_split(split, mode, points, texts)
        dataset.loaders += self.images(mode)
        return dataset


class LvisOpenShape(_LvisRecords):
    """OpenShape's meta_data/split/lvis.json."""

    origin = (
        "OpenShape's release (hub data set OpenShape/openshape-training-data): meta_data/split/"
        "lvis.json, a list of {uid, category, group, data_path}, and its Objaverse records"
    )

    def read(self, path: Path) -> list[Entry]:
        """Return the objects of the list."""
        content = read_json(path)
        if not isinstance(content, list):
            raise ValueError(f"a {type(content).__name__}, no list of objects")
        return [
            _entry(one["uid"], one["category"], self.record_path(str(one["data_path"])))
            for one in content
        ]


class LvisObjaverse(_LvisSource):
    """Objaverse's lvis-annotations.json.gz: {class: uids}; clouds are a file per uid."""

    origin = (
        "Objaverse's lvis-annotations.json.gz (hub data set allenai/objaverse): {class: [uid]}; "
        "clouds by build_info.points.pattern"
    )

    def read(self, path: Path) -> list[Entry]:
        """Return the objects of the mapping; a uid of two classes is named."""
        content = _read_packed_json(path)
        if not isinstance(content, Mapping):
            raise ValueError(f"a {type(content).__name__}, no mapping of classes")
        entries = [_entry(uid, name) for name, uids in content.items() for uid in uids]
        class_of: dict[str, str] = {}
        for entry in entries:
            first = class_of.setdefault(entry["object_id"], entry["lvis_class"])
            if first != entry["lvis_class"]:
                uid, second = entry["object_id"], entry["lvis_class"]
                raise ValueError(f"object {uid}: of the classes {first} and {second}")
        return entries


def _read_packed_json(path: Path) -> Any:
    """Return the content of a JSON file that may be packed with gzip."""
    if path.suffix != ".gz":
        return read_json(path)
    with gzip.open(path) as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES:,} bytes unpacked")
    return parse_json(decode(content))


class LvisUlip(_LvisRecords):
    """ULIP-2's lvis.json {uid: path of the record} and its metadata."""

    origin = (
        "ULIP-2's release (hub data set SFXX/ulip): objaverse-lvis/lvis.json {uid: path}, "
        "objaverse-lvis/objaverse_lvis_metadata.json {value_to_key_mapping: {uid: class}}"
    )

    def files(self) -> list[tuple[str, Path]]:
        """Return the files of a release, and the metadata."""
        return [*super().files(), ("metadata.storage", self.path("metadata.storage"))]

    def read(self, path: Path) -> list[Entry]:
        """Return the objects of the list."""
        classes = read_json(self.path("metadata.storage"))["value_to_key_mapping"]
        paths = read_json(path)
        return [_entry(uid, classes[uid], self.record_path(one)) for uid, one in paths.items()]


LAYOUTS: dict[str, type[ReleasedSource]] = {
    "openshape": LvisOpenShape,
    "objaverse": LvisObjaverse,
    "ulip": LvisUlip,
}
