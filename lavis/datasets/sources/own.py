"""The user's own objects: a folder that `python -m lavis.datasets.convert` wrote.

    manifest.json, points/ (stores/packed_fields.py), geometry.json, classes.json (with classes),
    annotations/{captions,qa,classes}_{train,val,test}.json

`build_info.path` names the folder; `--options datasets.own.path=data/mine` sets it for every data
set of a recipe. A relative path starts at the repository root, as that of `run.output_dir`.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

import lavis.common.utils as utils
from lavis.common.errors import ConfigError, DataError
from lavis.common.text_files import read_json
from lavis.datasets.datasets.annotations import Entry, read_annotation
from lavis.datasets.datasets.point_text_datasets import PointTextDataset
from lavis.datasets.manifest import MANIFEST_NAME, verify_once
from lavis.datasets.sources.released import Processors, ReleasedSource
from lavis.datasets.stores.packed_fields import PackedFieldStore

KIND = "own objects"
CONVERT = "python -m lavis.datasets.convert my_meshes/ --captions captions.csv --out data/mine"
COLUMNS = {"captions": "captions", "qa": "questions and answers", "classes": "classes"}


class OwnPointStore(PackedFieldStore):
    """Clouds of a converted folder, with the sizes that the conversion measured.

    Args:
        folder: the clouds (`<converted folder>/points`).
        sizes: {object id: edges [3] along x, y, z in the user's unit}.
    """

    def __init__(self, folder: str | Path, sizes: dict[str, Sequence[float]]) -> None:
        super().__init__(folder)
        self.sizes = sizes

    def box_sizes(self) -> dict[str, np.ndarray]:
        """Return {object id: bounding box [3]} in the user's unit."""
        return {name: np.asarray(self.sizes[name], np.float32) for name in self.row_of}

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "sizes": self.sizes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


class UnsizedPointStore(PackedFieldStore):
    """Clouds without comparable sizes, because the files have no unit in common."""

    def scale(self, object_id: str) -> float:
        """Return NaN: the unit is unknown."""
        return math.nan


class OwnSource(ReleasedSource):
    """Open a converted folder.

    Args:
        config, name, dataset_cls: see `ReleasedSource`.
    """

    origin = f"a folder of python -m lavis.datasets.convert, e.g. {CONVERT}"

    @cached_property
    def folder(self) -> Path:
        """The converted folder.

        Raises:
            ConfigError: no folder is named.
        """
        if not self.info.path:
            where = f"{self.key('path')}, or datasets.own.path for all data sets of the recipe"
            fix = "--options datasets.own.path=data/mine; without a folder yet: " + CONVERT
            raise ConfigError("No folder of own objects is named.", where=where, fix=fix)
        return Path(utils.get_abs_path(str(self.info.path)))

    def prepare(self) -> None:
        """Check that the folder is there and holds what the data set reads.

        Raises:
            DataError: no such folder, or it is unfinished, changed, or without such annotations.
        """
        if not (self.folder / MANIFEST_NAME).is_file():
            what, where = "No converted objects found.", f"{self.key('path')}: {self.folder}"
            got = "no manifest.json" if self.folder.is_dir() else "no such folder"
            raise DataError(what, where=where, got=got, expected=self.origin, fix=CONVERT)
        logging.info("%s: %s, version %s", self.name, self.folder, self.manifest["version"])
        stated = [path for split in self.info.annotations for path in self.paths(split)]
        if stated and not any(path.exists() for path in stated):
            kind = stated[0].stem.rpartition("_")[0]
            what = f"The converted objects have no {COLUMNS.get(kind, kind)}."
            fix = f"convert with a table that has {COLUMNS.get(kind, kind)}, or leave {self.name} "
            fix += "out of the recipe"
            raise DataError(what, where=f"{self.name}: {stated[0]}", fix=fix)
        super().prepare()

    def build(self, points: Processors, texts: Processors) -> dict[str, PointTextDataset]:
        """Return {split: dataset}; `data_version` names the folder's content in results.

        Raises:
            DataError: see `ReleasedSource.build`, or a folder of another kind.
        """
        version = data_version(self.manifest, self.folder)
        datasets = super().build(points, texts)
        templates = self.config.get("class_templates")
        for dataset in datasets.values():
            dataset.data_version = version
            dataset.class_templates = list(templates) if templates else None
        return datasets

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The manifest of the folder, whose files were compared with it."""
        manifest = verify_once(self.folder)
        if manifest.get("kind") != KIND:
            where, got = f"{self.key('path')}: {self.folder}", manifest.get("kind")
            what = "The folder holds other prepared data."
            raise DataError(what, where=where, got=got, expected=KIND, fix=CONVERT)
        return manifest

    @cached_property
    def store(self) -> PackedFieldStore:
        """The clouds, up +y."""
        folder = self.path("points.storage")
        if not self.info.common_unit:
            return UnsizedPointStore(folder)
        path = self.folder / "geometry.json"
        geometry = self.checked(path, lambda: read_json(path))
        sizes = self.checked(
            path, lambda: {name: entry["size"] for name, entry in geometry.items()}
        )
        return OwnPointStore(folder, sizes)

    def read(self, path: Path) -> list[Entry]:
        """Return the records; classes in lower case, a question without a type is of one family."""
        return [_completed(record) for record in read_annotation([path])]

    def class_names(self) -> Sequence[str]:
        """Return the names of the classes, in lower case; none without a column of classes."""
        path = self.folder / "classes.json"
        if not path.exists():
            return ()
        names = self.checked(path, lambda: [str(n).lower() for n in read_json(path)["class_names"]])
        return list(dict.fromkeys(names))

    @cached_property
    def splits(self) -> list[str]:
        """The splits that have records: few objects may leave one empty."""
        stated = [split for split in self.info.annotations if self.paths(split)]
        found = [split for split in stated if any(map(self._has_records, self.paths(split)))]
        if len(found) < len(stated):
            empty = sorted(set(stated) - set(found))
            logging.warning("%s: no record in %s", self.name, ", ".join(empty))
        return found

    def _has_records(self, path: Path) -> bool:
        """Return whether a file has records; one that is absent is reported later."""
        return not path.exists() or bool(self.checked(path, lambda: read_json(path)))

    def path(self, key: str) -> Path:
        """Return the path of a key below `build_info`, below the folder."""
        section, _, name = key.rpartition(".")
        return self.folder / str(self.info[section][name])

    def paths(self, split: str) -> list[Path]:
        """Return the annotation files of a split, below the folder."""
        storage = (self.info.annotations.get(split) or {}).get("storage")
        names = [storage] if isinstance(storage, str) else list(storage or [])
        return [self.folder / name for name in names]

    def _options(self, split: str, mode: str) -> dict[str, Any]:
        options = super()._options(split, mode)
        if mode == "train":
            options["size_drop"] = float(self.info.size_drop)
            options["text_weights"] = self.info.get("text_weights")
        return options


def data_version(manifest: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return what results record of the data they were measured on."""
    files = manifest["files"].items()
    hashes = [f"{name} {entry['sha256']}" for name, entry in files if "annotations/" in name]
    return {
        "name": f"own/{folder.name}",
        "version": manifest["version"],
        "split_file_sha256": hashlib.sha256("\n".join(hashes).encode()).hexdigest(),
    }


def _completed(record: Entry) -> Entry:
    """Return a record with its class in lower case, and its question's family."""
    completed = dict(record)
    if "category" in record:
        completed["category"] = str(record["category"]).lower()
    if "question" in record:
        completed.setdefault("family", record.get("question_type") or "questions")
    return completed
