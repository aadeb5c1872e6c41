"""Builder of ModelNet40 (lavis/datasets/sources/modelnet40.py)."""

from __future__ import annotations

from lavis.common.registry import registry

from lavis.common.errors import require_choice
from lavis.datasets.builders.base_dataset_builder import SourceBuilder
from lavis.datasets.datasets.point_text_datasets import PointClassificationDataset
from lavis.datasets.sources.modelnet40 import LAYOUTS
from lavis.datasets.sources.released import ReleasedSource


@registry.register_builder("modelnet40_classification")
class ModelNet40Builder(SourceBuilder):
    """Objects of 40 classes; `type` chooses the layout."""

    train_dataset_cls = PointClassificationDataset
    DATASET_CONFIG_DICT = {  # noqa: RUF012
        "default": "configs/datasets/modelnet40/txt.yaml",
        "openshape": "configs/datasets/modelnet40/openshape.yaml",
        "pointllm": "configs/datasets/modelnet40/pointllm.yaml",
        "h5": "configs/datasets/modelnet40/h5.yaml",
    }

    def make_source(self) -> ReleasedSource:
        """Return ModelNet40 in the layout that the configuration names."""
        name, layout = "modelnet40_classification", str(self.config.build_info.layout)
        require_choice("layout", layout, list(LAYOUTS), f"datasets.{name}.build_info.layout")
        return LAYOUTS[layout](self.config, name, self.train_dataset_cls)
