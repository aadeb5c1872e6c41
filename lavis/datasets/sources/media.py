"""The built-in pictures, stamps and sounds: labels with an image, a clip, or both, without clouds.

Prepared at the first use by lavis/datasets/download_scripts/prepare_{pictures,stamps,sounds}.py.
"""

from __future__ import annotations

import importlib
from typing import Any

from lavis.datasets.datasets.point_text_datasets import PointTextDataset
from lavis.datasets.datasets.record_dataset import FieldLoader
from lavis.datasets.fields.audio import AudioLoader
from lavis.datasets.fields.images import ViewLoader
from lavis.datasets.fields.points import PointLoader
from lavis.datasets.sources.prepared import PreparedSource
from lavis.datasets.stores.packed_audio import IDS_NAME, PackedAudio


class MediaSource(PreparedSource):
    """Open a prepared folder of pictures or sounds.

    Args:
        family: pictures, stamps or sounds.
        arguments: see `PreparedSource`.
    """

    store = None  # type: ignore[assignment]  # no clouds

    def __init__(self, family: str, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.family = family  # type: ignore[misc]
        self.origin = self._module  # type: ignore[misc]

    @property
    def _module(self) -> str:
        return f"lavis.datasets.download_scripts.prepare_{self.family}"

    def make(self) -> None:
        """Prepare the folder unless it is there."""
        # Pillow, synthesizers: only the process that prepares needs them.
        from lavis.datasets.download_scripts.media.prepare import prepare_media

        family = getattr(importlib.import_module(self._module), self.family.upper())
        prepare_media(family, self.folder, self.info.media.num_objects)

    def open_split(self, split: str, mode: str, points: Any, texts: Any) -> PointTextDataset:
        """Return one split; samples hold `image` and `audio` where the object has one."""
        dataset = super().open_split(split, mode, points, texts)
        kept = [loader for loader in dataset.loaders if not isinstance(loader, PointLoader)]
        dataset.loaders = (*kept, *self._media(mode))
        return dataset

    def _media(self, mode: str) -> list[FieldLoader]:
        """Return what loads the pictures and sounds that the folder has."""
        loaders: list[FieldLoader] = []
        if (self.folder / "pictures.zip").exists():
            loaders += [ViewLoader(self.folder / "pictures.zip")]
        if (self.folder / IDS_NAME).exists():
            seconds = self.info.media.get("seconds")
            loaders += [AudioLoader(PackedAudio(self.folder).load, seconds, mode == "train")]
        return loaders
