"""Builder of OpenShape's training data (lavis/datasets/sources/openshape.py)."""

from __future__ import annotations

from lavis.datasets.builders.base_dataset_builder import SourceBuilder, register_builder
from lavis.datasets.sources.openshape import OpenShapeDataset, OpenShapeSource


@register_builder("openshape_caption")
class OpenShapeBuilder(SourceBuilder):
    """Objects of four data sets with texts and features; `type` chooses the list of objects."""

    train_dataset_cls = OpenShapeDataset
    source_cls = OpenShapeSource
    DATASET_CONFIG_DICT = {  # noqa: RUF012
        "default": "configs/datasets/openshape/all.yaml",
        "no_lvis": "configs/datasets/openshape/no_lvis.yaml",
        "shapenet": "configs/datasets/openshape/shapenet.yaml",
    }
