"""Builder of ModelNet40 (lavis/datasets/sources/modelnet40.py)."""

from __future__ import annotations

from lavis.datasets.builders.base_dataset_builder import SourceBuilder, register_builder
from lavis.datasets.datasets.point_text_datasets import PointClassificationDataset
from lavis.datasets.sources.modelnet40 import LAYOUTS


@register_builder("modelnet40_classification")
class ModelNet40Builder(SourceBuilder):
    """Objects of 40 classes; `type` chooses the layout."""

    train_dataset_cls = PointClassificationDataset
    layouts = LAYOUTS
    DATASET_CONFIG_DICT = {  # noqa: RUF012
        "default": "configs/datasets/modelnet40/txt.yaml",
        "openshape": "configs/datasets/modelnet40/openshape.yaml",
        "pointllm": "configs/datasets/modelnet40/pointllm.yaml",
        "h5": "configs/datasets/modelnet40/h5.yaml",
    }
