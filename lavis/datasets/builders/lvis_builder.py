"""Builder of Objaverse-LVIS (lavis/datasets/sources/lvis.py)."""

from __future__ import annotations

from lavis.datasets.builders.base_dataset_builder import SourceBuilder, register_builder
from lavis.datasets.datasets.point_text_datasets import PointClassificationDataset
from lavis.datasets.sources.lvis import LAYOUTS


@register_builder("objaverse_lvis_classification")
class ObjaverseLvisBuilder(SourceBuilder):
    """Objects of 1,156 classes; `type` chooses the layout."""

    train_dataset_cls = PointClassificationDataset
    layouts = LAYOUTS
    DATASET_CONFIG_DICT = {  # noqa: RUF012
        "default": "configs/datasets/objaverse_lvis/openshape.yaml",
        "objaverse": "configs/datasets/objaverse_lvis/objaverse.yaml",
        "ulip": "configs/datasets/objaverse_lvis/ulip.yaml",
    }
