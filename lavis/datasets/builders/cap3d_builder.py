"""Builder of Cap3D's captions (lavis/datasets/sources/cap3d.py)."""

from __future__ import annotations

from lavis.common.registry import registry

from lavis.common.errors import require_choice
from lavis.datasets.builders.base_dataset_builder import SourceBuilder
from lavis.datasets.datasets.point_text_datasets import PointTextDataset
from lavis.datasets.sources.cap3d import LAYOUTS
from lavis.datasets.sources.released import ReleasedSource


@registry.register_builder("cap3d_caption")
class Cap3DBuilder(SourceBuilder):
    """Captions of Objaverse; `type` chooses the clouds: ULIP-2's, Cap3D's (ply) or GPT4Point's."""

    train_dataset_cls = PointTextDataset
    DATASET_CONFIG_DICT = {  # noqa: RUF012
        "default": "configs/datasets/cap3d/objaverse.yaml",
        "ply": "configs/datasets/cap3d/ply.yaml",
        "gpt4point": "configs/datasets/cap3d/gpt4point.yaml",
    }

    def make_source(self) -> ReleasedSource:
        """Return the captions and clouds in the layout that the configuration names."""
        layout = str(self.config.build_info.layout)
        require_choice("layout", layout, list(LAYOUTS), "datasets.cap3d_caption.build_info.layout")
        return LAYOUTS[layout](self.config, "cap3d_caption", self.train_dataset_cls)
