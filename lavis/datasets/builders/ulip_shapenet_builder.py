"""Builder of ULIP's ShapeNet triplets (lavis/datasets/sources/ulip_shapenet.py)."""

from __future__ import annotations

from lavis.common.registry import registry

from lavis.datasets.builders.base_dataset_builder import SourceBuilder
from lavis.datasets.datasets.point_text_datasets import PointTextDataset
from lavis.datasets.sources.ulip_shapenet import UlipShapeNetSource


@registry.register_builder("ulip_shapenet_caption")
class UlipShapeNetBuilder(SourceBuilder):
    """Objects with the names of their class, and rendered images where they are wanted."""

    train_dataset_cls = PointTextDataset
    DATASET_CONFIG_DICT = {  # noqa: RUF012
        "default": "configs/datasets/ulip_shapenet/shapenet55.yaml"
    }

    def make_source(self) -> UlipShapeNetSource:
        """Return the triplets as configured."""
        return UlipShapeNetSource(self.config, "ulip_shapenet_caption", self.train_dataset_cls)
