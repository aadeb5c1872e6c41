"""Base of built-in sources that one command prepares: version, classes, embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from lavis.common.text_files import read_json
from lavis.datasets.datasets.annotations import Entry, read_annotation
from lavis.datasets.datasets.point_text_datasets import PointTextDataset
from lavis.datasets.datasets.record_dataset import FieldLoader
from lavis.datasets.fields.embeds import embeds_loaders, repeat_sounding
from lavis.datasets.manifest import verify_once
from lavis.datasets.sources.released import Processors, ReleasedSource


class PreparedSource(ReleasedSource):
    """Open a prepared folder, and prepare it where it is missing.

    The section of `build_info` that `data_type` names has `storage`, the folder.

    Class attributes:
        family: name of the data in results.
        origin: the command that prepares it.
    """

    family: ClassVar[str] = ""

    def make(self) -> None:
        """Prepare the folder unless it is there."""
        raise TypeError(f"{type(self).__name__} has to define make()")

    def loaders(self) -> tuple[FieldLoader, ...]:
        """Return what loads further fields of a record; the default: embeddings."""
        return embeds_loaders(self.info, self.key)

    def read(self, path: Path) -> list[Entry]:
        """Return the records of an annotation file."""
        return read_annotation([path])

    @cached_property
    def folder(self) -> Path:
        """The prepared folder."""
        return self.path(f"{self.config.data_type}.storage")

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The manifest of the folder, whose files were compared with it."""
        return verify_once(self.folder)

    def prepare(self) -> None:
        """Prepare the folder; name annotations that are missing in it."""
        self.make()
        super().prepare()

    def build(self, points: Processors, texts: Processors) -> dict[str, PointTextDataset]:
        """Return {split: dataset}; `data_version` names the content in results."""
        version = {
            "name": self.family,
            "version": self.manifest["counts"]["version"],
            "split_file_sha256": self.manifest["parameters"]["split_file_sha256"],
        }
        datasets = super().build(points, texts)
        for dataset in datasets.values():
            dataset.data_version = version
        return datasets

    def open_split(self, split: str, mode: str, points: Any, texts: Any) -> PointTextDataset:
        """Return one split with the further fields, and the classes that it has."""
        dataset = super().open_split(split, mode, points, texts)
        dataset.loaders += self.loaders()
        templates = self.config.get("class_templates")
        dataset.class_templates = list(templates) if templates else None
        if mode == "train":
            where = self.key("audio_repeats")
            entries, loaders = dataset.annotation, dataset.loaders
            dataset.annotation = repeat_sounding(entries, loaders, self.info, where)
        return dataset

    def _options(self, split: str, mode: str) -> dict[str, Any]:
        options = super()._options(split, mode) | {"class_names": self.classes_of(split)}
        options["text_field"] = str(self.info.get("text_field", "caption"))
        if mode == "train":
            options["text_weights"] = self.info.get("text_weights")
            options["size_drop"] = float(self.info.get("size_drop", 0.0))
        return options

    def classes_of(self, split: str) -> Sequence[str]:
        """Return the names of the classes of a split; those of held_out are its own."""
        path = self.folder / "classes.json"
        key = "held_out_class_names" if split == "held_out" else "class_names"
        return self.checked(path, lambda: list(read_json(path)[key]))
