"""The built-in furniture: everyday objects with names, tags, classes, sizes and pictures.

Prepared at the first use by lavis/datasets/download_scripts/prepare_furniture.py.
"""

from __future__ import annotations

from pathlib import Path

import lavis.common.utils as utils
from lavis.datasets.datasets.record_dataset import FieldLoader
from lavis.datasets.fields.images import ImageLoader, ViewLoader
from lavis.datasets.sources.prepared import PreparedSource
from lavis.datasets.stores.point_stores import PackedPointStore, PointStore

ICONS = "icons"


class FurnitureSource(PreparedSource):
    """Open the prepared furniture."""

    family = "furniture"
    origin = "python -m lavis.datasets.download_scripts.prepare_furniture"

    def make(self) -> None:
        """Prepare the folder and the model files, unless they are there."""
        # trimesh, tqdm: only the process that prepares needs them.
        from lavis.datasets.download_scripts.prepare_furniture import prepare_furniture

        points = self.info.points
        prepare_furniture(
            self.folder,
            num_points=int(points.num_points),
            seed=int(points.seed),
            limit=points.num_objects,
            models=self.models,
        )

    @property
    def models(self) -> Path:
        """Folder of the model files."""
        return Path(utils.get_cache_path(str(self.info.points.models)))

    def open_store(self) -> PointStore:
        """Return the packed clouds."""
        return PackedPointStore(self.folder)

    def loaders(self) -> tuple[FieldLoader, ...]:
        """Return what loads pictures, where `images` names some, and embeddings of views."""
        images = self.info.images
        if not images:
            return super().loaders()
        if images == ICONS:
            return (ImageLoader(self.models, "{object_id}/icon.png"), *super().loaders())
        return (ViewLoader(Path(utils.get_cache_path(str(images)))), *super().loaders())
