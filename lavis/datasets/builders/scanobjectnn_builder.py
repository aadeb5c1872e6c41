"""Builder of ScanObjectNN (lavis/datasets/sources/scanobjectnn.py)."""

from __future__ import annotations

from lavis.datasets.builders.base_dataset_builder import SourceBuilder, register_builder
from lavis.datasets.datasets.point_text_datasets import PointClassificationDataset
from lavis.datasets.sources.scanobjectnn import ScanObjectNNSource

VARIANTS = ("pb_t50_rs", "obj_bg", "obj_only", "openshape")


@register_builder("scanobjectnn_classification")
class ScanObjectNNBuilder(SourceBuilder):
    """Scanned objects of 15 classes; `type` chooses the variant, PB_T50_RS by default."""

    train_dataset_cls = PointClassificationDataset
    source_cls = ScanObjectNNSource
    DATASET_CONFIG_DICT = {  # noqa: RUF012
        "default": "configs/datasets/scanobjectnn/pb_t50_rs.yaml",
        **{name: f"configs/datasets/scanobjectnn/{name}.yaml" for name in VARIANTS},
    }
