"""Base of sources of released layouts: files, splits, stores, and no object in two splits.

A source states how an annotation file becomes records (`read`) and where the clouds are
(`open_store`). The files are read as released; nothing is downloaded or converted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
from omegaconf import DictConfig

import lavis.common.utils as utils
from lavis.common.errors import ConfigError, DataError
from lavis.datasets.datasets.annotations import Entry
from lavis.datasets.datasets.point_text_datasets import PointTextDataset
from lavis.datasets.sources.class_embeds import read_class_embeds
from lavis.datasets.sources.objaverse_files import open_store
from lavis.datasets.stores.array_stores import ArrayPointStore, upright
from lavis.datasets.stores.point_stores import PointStore

Processors = Mapping[str, Any]  # {"train", "eval"}
T = TypeVar("T")


class ReleasedSource:
    """Open the files of a release.

    Args:
        config: a `datasets.<name>` section.
        name: of the builder, for messages.
        dataset_cls: what reads the records.

    Class attributes:
        origin: where the files come from, for messages.
        fixed_classes: names of the classes, where every release has the same.
    """

    origin: ClassVar[str] = ""
    fixed_classes: ClassVar[Sequence[str]] = ()

    def __init__(self, config: DictConfig, name: str, dataset_cls: type[PointTextDataset]) -> None:
        self.config, self.info = config, config.build_info
        self.name, self.dataset_cls = name, dataset_cls
        self._known: dict[Path, list[Entry]] = {}

    # What a source defines.

    def read(self, path: Path) -> list[Entry]:
        """Return the records of one annotation file.

        Raises:
            OSError, ValueError: the file cannot be read, or has another layout.
        """
        raise TypeError(f"{type(self).__name__} has to define read()")

    def open_store(self) -> PointStore:
        """Return the clouds, as released; the default is one file per object."""
        points = self.info.points
        array, key = points.get("array_name", "arr_0"), self.key("points.pattern")
        return open_store(self.path("points.storage"), points.pattern, array, key)

    def class_names(self) -> Sequence[str]:
        """Return the names of the classes in the order of their labels, if there are any."""
        return self.fixed_classes

    # What all have in common.

    def prepare(self) -> None:
        """Name every missing file in one message.

        Raises:
            DataError: with the yaml key and path of each.
        """
        missing = [f"{self.key(key)} = {path}" for key, path in self.files() if not path.exists()]
        if missing:
            raise DataError(
                "Files of the data set not found.",
                where="\n            ".join(missing),
                expected=self.origin,
                fix="link or copy the files there (data/README.md), or set the keys; "
                "LAVIS_CACHE_ROOT moves data/",
            )

    def files(self) -> list[tuple[str, Path]]:
        """Return (yaml key, path) of every file and folder that is read."""
        keys = [
            key for key in ("points", "class_embeds") if (self.info.get(key) or {}).get("storage")
        ]
        found = [(f"{key}.storage", self.path(f"{key}.storage")) for key in keys]
        for split in self.splits:
            found += [(f"annotations.{split}.storage", path) for path in self.paths(split)]
        return found

    def build(self, points: Processors, texts: Processors) -> dict[str, PointTextDataset]:
        """Return {split: dataset} for every split with annotations.

        Raises:
            DataError: an unreadable file, or too many unusable records.
        """

        def open_split(split: str, mode: str) -> PointTextDataset:
            return self.open_split(split, mode, points[mode], texts[mode])

        datasets = {s: open_split(s, "train" if s == "train" else "eval") for s in self.splits}
        if "train" in datasets:
            reference = open_split("train", "eval")
            for dataset in datasets.values():
                dataset.set_reference(reference)
        return datasets

    def open_split(self, split: str, mode: str, points: Any, texts: Any) -> PointTextDataset:
        """Return one split, processed as in training or evaluation (`mode`: train, eval)."""
        options = self._options(split, mode)
        dataset = self.dataset_cls(points, texts, self.store, self.paths(split), **options)
        dataset.class_embeds = self.class_embeds
        return dataset

    @cached_property
    def class_embeds(self) -> np.ndarray | None:
        """Embeddings [K,E] of the class names, where `class_embeds.storage` names a file."""
        if not (self.info.get("class_embeds") or {}).get("storage"):
            return None
        path = self.path("class_embeds.storage")
        return self.checked(path, lambda: read_class_embeds(path, self.class_names()))

    @cached_property
    def store(self) -> PointStore:
        """Clouds with up +y, where the up axis is known."""
        axis = str(self.info.points.up_axis)
        return upright(self.open_store(), axis, self.key("points.up_axis"))

    @cached_property
    def splits(self) -> list[str]:
        """The splits that have annotations."""
        return [split for split in self.info.annotations if self.paths(split)]

    def records(self, paths: Sequence[str | Path]) -> list[Entry]:
        """Return the records of annotation files, each read once.

        Raises:
            DataError: a file cannot be read, or holds no record.
        """
        for path in map(Path, paths):
            if path not in self._known:
                self._known[path] = self._read_checked(path)
        return [entry for path in map(Path, paths) for entry in self._known[path]]

    def _read_checked(self, path: Path) -> list[Entry]:
        entries = self.checked(path, lambda: self.read(path))
        if not entries:
            where = f"datasets.{self.name}: {path}"
            raise DataError("An annotation file has no record.", where=where)
        return entries

    def checked(self, path: Path, read: Callable[[], T]) -> T:
        """Return what a function reads from a file.

        Raises:
            DataError: the file cannot be read, or has another layout.
        """
        try:
            return read()
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise DataError(
                "A file of the data set cannot be read.",
                where=f"datasets.{self.name}: {path}",
                got=f"{type(error).__name__}: {error}",
                expected=self.origin,
            ) from error

    def read_split(self, paths: Sequence[str | Path]) -> list[Entry]:
        """Return the records of a split; those of training without objects of other splits.

        Raises:
            DataError: see `records`, or no training record is left.
        """
        return self._train if list(paths) == self.paths("train") else self.records(paths)

    @cached_property
    def _train(self) -> list[Entry]:
        """Records whose objects are in no other split."""
        entries = self.records(self.paths("train"))
        left = [entry for entry in entries if entry.get("object_id") not in self._held_out]
        if not left:
            where, got = self.key("annotations.train.storage"), "objects of other splits alone"
            raise DataError("No object is left to train on.", where=where, got=got)
        if len(left) < len(entries):
            what = "%s: %d of %d training records belong to evaluated objects: left out"
            logging.warning(what, self.name, len(entries) - len(left), len(entries))
        return left

    @cached_property
    def _held_out(self) -> frozenset[str]:
        """Ids of the objects of every split but train."""
        paths = [path for split in self.splits if split != "train" for path in self.paths(split)]
        return frozenset(str(entry.get("object_id")) for entry in self.records(paths))

    def _options(self, split: str, mode: str) -> dict[str, Any]:
        """Return the arguments of a split's data set."""
        return {
            "limit": self._limit(split),
            "seed": int(self.info.augmentation_seed),
            "class_names": self.class_names(),
            "train_ann_paths": self.paths("train") or None,
            "max_bad_fraction": float(self.info.max_bad_fraction),
            "draws_texts": mode == "train",
            "read": self.read_split,
        }

    def _limit(self, split: str) -> int | None:
        limit = (self.info.get("limit") or {}).get(split)
        if limit is not None and (not isinstance(limit, int) or limit < 1):
            where, expected = self.key(f"limit.{split}"), "null (all) or a positive integer"
            what = "Invalid number of records."
            raise ConfigError(what, where=where, got=limit, expected=expected)
        return limit

    def path(self, key: str) -> Path:
        """Return the path of a key below `build_info`: absolute, or below `cache_root`."""
        section, _, name = key.rpartition(".")
        return Path(utils.get_cache_path(self.info[section][name]))

    def paths(self, split: str) -> list[Path]:
        """Return the annotation files of a split; storage is one path or a list."""
        storage = (self.info.annotations.get(split) or {}).get("storage")
        names = [storage] if isinstance(storage, str) else list(storage or [])
        return [Path(utils.get_cache_path(name)) for name in names]

    def key(self, key: str) -> str:
        """Return a key below `build_info` in full, for messages."""
        return f"datasets.{self.name}.build_info.{key}"


class ArraySource(ReleasedSource):
    """A release whose annotation files hold the clouds, too; `read` adds them to `clouds`."""

    def __init__(self, config: DictConfig, name: str, dataset_cls: type[PointTextDataset]) -> None:
        super().__init__(config, name, dataset_cls)
        self.clouds: dict[str, np.ndarray] = {}

    def open_store(self) -> PointStore:
        """Return the clouds of every annotation file."""
        paths = [path for split in self.splits for path in self.paths(split)]
        self.records(paths)
        return ArrayPointStore(self.clouds, ", ".join(map(str, paths)))
