"""Builder of ULIP's ShapeNet triplets (lavis/datasets/sources/ulip_shapenet.py)."""

from __future__ import annotations

from lavis.datasets.builders.base_dataset_builder import SourceBuilder, register_builder
from lavis.datasets.datasets.point_text_datasets import PointTextDataset
from lavis.datasets.sources.ulip_shapenet import UlipShapeNetSource


@register_builder("ulip_shapenet_caption")
class UlipShapeNetBuilder(SourceBuilder):
    """Objects with the names of their class, and rendered images where they are wanted."""

    train_dataset_cls = PointTextDataset
    source_cls = UlipShapeNetSource
    DATASET_CONFIG_DICT = {  # noqa: RUF012
        "default": "configs/datasets/ulip_shapenet/shapenet55.yaml"
    }
