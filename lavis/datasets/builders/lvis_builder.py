"""Builder of Objaverse-LVIS (lavis/datasets/sources/lvis.py)."""

from __future__ import annotations

from lavis.common.registry import registry

from lavis.common.errors import require_choice
from lavis.datasets.builders.base_dataset_builder import SourceBuilder
from lavis.datasets.datasets.point_text_datasets import PointClassificationDataset
from lavis.datasets.sources.lvis import LAYOUTS
from lavis.datasets.sources.released import ReleasedSource


@registry.register_builder("objaverse_lvis_classification")
class ObjaverseLvisBuilder(SourceBuilder):
    """Objects of 1,156 classes; `type` chooses the layout."""

    train_dataset_cls = PointClassificationDataset
    DATASET_CONFIG_DICT = {  # noqa: RUF012
        "default": "configs/datasets/objaverse_lvis/openshape.yaml",
        "objaverse": "configs/datasets/objaverse_lvis/objaverse.yaml",
        "ulip": "configs/datasets/objaverse_lvis/ulip.yaml",
    }

    def make_source(self) -> ReleasedSource:
        """Return Objaverse-LVIS in the layout that the configuration names."""
        name, layout = "objaverse_lvis_classification", str(self.config.build_info.layout)
        require_choice("layout", layout, list(LAYOUTS), f"datasets.{name}.build_info.layout")
        return LAYOUTS[layout](self.config, name, self.train_dataset_cls)
