"""Builder of Cap3D's captions (lavis/datasets/sources/cap3d.py)."""

from __future__ import annotations

from lavis.datasets.builders.base_dataset_builder import SourceBuilder, register_builder
from lavis.datasets.datasets.point_text_datasets import PointTextDataset
from lavis.datasets.sources.cap3d import LAYOUTS


@register_builder("cap3d_caption")
class Cap3DBuilder(SourceBuilder):
    """Captions of Objaverse; `type` chooses the clouds: ULIP-2's, Cap3D's (ply) or GPT4Point's."""

    train_dataset_cls = PointTextDataset
    layouts = LAYOUTS
    DATASET_CONFIG_DICT = {  # noqa: RUF012
        "default": "configs/datasets/cap3d/objaverse.yaml",
        "ply": "configs/datasets/cap3d/ply.yaml",
        "gpt4point": "configs/datasets/cap3d/gpt4point.yaml",
    }
