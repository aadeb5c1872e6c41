"""A batch of two tiny rooms of different size, and tiny fine-tuned models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from lavis.common.registry import registry
from omegaconf import OmegaConf

from lavis.datasets.fields.boxes import boxes_of
from lavis.datasets.samples import collate

LABELS = ["wall", "chair", "table"]


def tiny_room(seed: int, objects: int) -> dict[str, Any]:
    """Return a sample: a wall and boxes of points, chairs and tables in turn."""
    generator = torch.Generator().manual_seed(seed)
    parts, semantic, instance = [torch.rand(40, 3, generator=generator)], [0] * 40, [-1] * 40
    parts[0][:, 0] = 0
    for number in range(objects):
        corner = torch.tensor([0.3 + 0.5 * number, 0.0, 0.3])
        parts.append(corner + 0.3 * torch.rand(20, 3, generator=generator))
        semantic += [1 + number % 2] * 20
        instance += [number] * 20
    xyz, labels = torch.cat(parts), (torch.tensor(semantic), torch.tensor(instance))
    cloud = torch.cat([xyz, torch.rand(len(xyz), 3, generator=generator)], -1)
    return {
        "point_cloud": cloud,
        "semantic_label": labels[0],
        "instance_label": labels[1],
        **boxes_of(xyz.numpy(), *(label.numpy() for label in labels)),
        "text_input": "the chair next to the table" if seed else "the only table",
        "target_instance": 1 - seed,
        "instance_id": f"room_{seed}",
    }


@pytest.fixture
def rooms() -> dict[str, Any]:
    """Two rooms of 80 and 100 points."""
    return collate([tiny_room(0, 2), tiny_room(1, 3)])


@pytest.fixture
def build(tiny_bert) -> Callable[..., Any]:
    """Return a function (arch, **keys) -> tiny model, the same for the same keys."""
    encoder = {"name": "sparse_unet", "point_dims": 6, "voxel_size": 0.1, "widths": [8, 12, 16]}
    sizes = {"point_encoder": encoder, "embed_dim": 32, "query_heads": 2, "labels": LABELS}
    own = {
        "detection": {"width": 16, "voting_points": 32, "proposals": 8},
        "referring": {"width": 16, "depth": 1, "tokens": 16, "head_heads": 2},
        "instances": {"surfaces": ["wall"], "least_points": 5},
        "instance_referring": {
            "surfaces": ["wall"],
            "least_points": 1,
            "width": 16,
            "depth": 1,
            "head_heads": 2,
        },
    }

    def make(kind: str, **keys: Any) -> Any:
        torch.manual_seed(0)
        section = {"text_teacher": tiny_bert} | sizes | own.get(kind, {}) | keys
        model = registry.get_model_class(f"text4point_{kind}")
        return model.from_config(OmegaConf.create(section))

    return make
