"""OpenShape's ensembled data: Objaverse, ShapeNet, ABO and 3D-FUTURE as one file per object.

A split is a list of {dataset, group, id, data_path}. Clouds, texts and the features of OpenCLIP
ViT-bigG-14 are in the object's file (lavis/datasets/fields/openshape.py). MixCon3D trains on them,
too.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from lavis.common.errors import ConfigError, require_choice
from lavis.common.text_files import read_json
from lavis.datasets.datasets.annotations import Entry
from lavis.datasets.datasets.point_text_datasets import PointTextDataset
from lavis.datasets.fields.openshape import PROMPTS, SOURCES, OpenShapeImages, OpenShapeTexts
from lavis.datasets.fields.points import PointLoader
from lavis.datasets.sources.released import ReleasedSource
from lavis.datasets.stores.pickled_records import PickledRecordStore
from lavis.datasets.stores.point_stores import PointStore


class OpenShapeDataset(PointTextDataset):
    """Objects whose texts are in their files."""

    required_text = ("object_id",)


class RecordFilesSource(ReleasedSource):
    """A release whose lists name a pickled file for each object."""

    def record_path(self, data_path: str) -> str:
        """Return a path of a list, relative to `points.storage`.

        The lists of the release begin with the folder it was made in (`points.prefix`).
        """
        return data_path.removeprefix(str(self.info.points.get("prefix") or ""))

    @cached_property
    def files_store(self) -> PickledRecordStore:
        """The records as released."""
        paths = [path for split in self.splits for path in self.paths(split)]
        known = {entry["object_id"]: entry["data_path"] for entry in self.records(paths)}
        return PickledRecordStore(self.path("points.storage"), known)

    def open_store(self) -> PointStore:
        """Return the clouds of the records."""
        return self.files_store

    def images(self, mode: str) -> tuple[OpenShapeImages, ...]:
        """Return what loads image features, where `features.image` is on.

        Raises:
            ConfigError: fewer than one view.
        """
        options = self.info.features
        if not options.image:
            return ()
        views = options.views
        if not isinstance(views, int) or views < 1:
            where, expected = self.key("features.views"), "a whole number of at least 1"
            what = "Invalid number of views."
            raise ConfigError(what, where=where, got=views, expected=expected)
        return (OpenShapeImages(self.files_store, views, mode == "train", options.space),)


class OpenShapeSource(RecordFilesSource):
    """Objects to train on, with the texts that `build_info.text_sources` chooses."""

    origin = (
        "OpenShape's release (hub data set OpenShape/openshape-training-data): meta_data/split/"
        "*.json, lists of {dataset, group, id, data_path}, and objaverse-processed/"
        "merged_for_training_final/<dataset>/…/<id>.npy"
    )

    def files(self) -> list[tuple[str, Path]]:
        """Return the files of a release, and the list of filtered texts."""
        path = self.filtering
        return [*super().files(), *([("text_filtering.storage", path)] if path else [])]

    def read(self, path: Path) -> list[Entry]:
        """Return the objects of a list."""
        content = read_json(path)
        if not isinstance(content, list):
            raise ValueError(f"a {type(content).__name__}, no list of objects")
        return [self._entry(number, record) for number, record in enumerate(content)]

    def _entry(self, number: int, record: Any) -> Entry:
        names = ("id", "data_path")
        is_record = isinstance(record, Mapping)
        if not is_record or not all(isinstance(record.get(n), str) and record[n] for n in names):
            raise ValueError(f"record {number}: no id or no data_path")
        path = self.record_path(record["data_path"])
        return {"object_id": record["id"], "data_path": path, "source": record.get("dataset", "")}

    def open_split(self, split: str, mode: str, points: Any, texts: Any) -> PointTextDataset:
        """Return one split; texts are drawn in training alone."""
        dataset = super().open_split(split, mode, points, texts)
        cloud = PointLoader(self.store, points)
        dataset.loaders = (cloud, self.texts(mode, texts), *self.images(mode))
        return dataset

    def texts(self, mode: str, text_processor: Any) -> OpenShapeTexts:
        """Return what loads texts and their features.

        Raises:
            ConfigError: an unknown kind of text, or none.
        """
        wanted, features = list(self.info.text_sources), self.info.features
        if not wanted:
            what, where = "No kind of text is chosen.", self.key("text_sources")
            raise ConfigError(what, where=where, got=wanted, expected=list(SOURCES))
        for name in wanted:
            require_choice("kind of text", name, SOURCES, self.key("text_sources"))
        require_choice("prompt", features.prompt, PROMPTS, self.key("features.prompt"))
        return OpenShapeTexts(
            self.files_store,
            text_processor,
            wanted,
            self.flags,
            features.prompt,
            bool(features.text),
            mode == "train",
            features.space if features.text else None,
        )

    @property
    def filtering(self) -> Path | None:
        """The list of filtered texts, if one is used."""
        storage = self.info.text_filtering.storage
        return None if storage is None else self.path("text_filtering.storage")

    @cached_property
    def flags(self) -> dict[str, str]:
        """{uid: flag} of Objaverse's own texts; "N" is not used."""
        path = self.filtering
        if path is None:
            return {}
        flags = self.checked(path, lambda: _read_flags(path))
        left_out = sum(flag == "N" for flag in flags.values())
        logging.info("%s: own texts of %d of %d objects not used", path, left_out, len(flags))
        return flags


def _read_flags(path: Path) -> dict[str, str]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"a {type(content).__name__}, no mapping {{uid: {{flag}}}}")
    return {uid: str(found["flag"]) for uid, found in content.items()}
