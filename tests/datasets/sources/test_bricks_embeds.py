"""Bricks with the embeddings of their views: absent objects are masked, wrong settings refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lavis.common.registry import registry
from omegaconf import OmegaConf
from safetensors.torch import save_file

import lavis  # noqa: F401  (registers builders)
from lavis.common.errors import ConfigError, DataError
from lavis.datasets.builders.base_dataset_builder import load_dataset_config

BUILDERS = [
    registry.get_builder_class(f"bricks_{use}")
    for use in ("caption", "retrieval", "qa", "classification")
]
CAPTIONS, RETRIEVAL, QA, CLASSIFICATION = BUILDERS


def build(cls: type, folder: Path, **build_info: Any) -> dict[str, Any]:
    cfg = load_dataset_config(cls.default_config_path())
    cfg.build_info.points = {"storage": str(folder), "num_points": 128, "num_objects": 120}
    for section in cfg.build_info.annotations.values():
        section.storage = section.storage.replace("bricks/", f"{folder}/", 1)
    return cls(OmegaConf.merge(cfg, {"build_info": build_info})).build_datasets()


@pytest.fixture
def embeds(small_bricks, tmp_path) -> Path:
    """Three views of every second object; view v of object k is filled with k + v/4."""
    ids = json.loads((small_bricks / "object_ids.json").read_text())[::2]
    rows = torch.arange(len(ids))[:, None, None] + torch.arange(3)[:, None] / 4  # [N,3,1]
    path = tmp_path / "views.safetensors"
    save_file({"image_embeds": rows.expand(-1, -1, 8).contiguous()}, path, {"ids": json.dumps(ids)})
    return path


@pytest.mark.parametrize("cls", BUILDERS)
def test_objects_bring_the_embeddings_of_their_views(cls, small_bricks, embeds):
    datasets = build(cls, small_bricks, image_embeds=str(embeds))
    ids = json.loads((small_bricks / "object_ids.json").read_text())
    for split in ("train", "dev_test"):
        dataset = datasets[split]
        batch = dataset.collater([dataset[row] for row in range(min(12, len(dataset)))])
        rows = [ids.index(record["object_id"]) for record in dataset.annotation[:12]]
        assert batch["image_embeds_mask"].tolist() == [[row % 2 == 0] * 3 for row in rows]
        expected = [row // 2 + 0.5 if row % 2 == 0 else 0.0 for row in rows]
        assert batch["image_embeds"][:, 2, 0].tolist() == expected
    assert datasets["train"].reference_dataset()[0].keys() == datasets["train"][0].keys()


def test_without_the_key_nothing_is_added(small_bricks):
    assert "image_embeds" not in build(CAPTIONS, small_bricks)["train"][0]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"image_embeds": "/nowhere.safetensors"}, DataError, r"image_embeds[\s\S]*embed_views"),
        ({"mirror_probability": 0.5}, ConfigError, r"build_info\.mirror_probability"),
    ],
)
def test_what_cannot_be_embedded_is_refused(small_bricks, embeds, options, error, message):
    with pytest.raises(error, match=message):
        build(CAPTIONS, small_bricks, **{"image_embeds": str(embeds), **options})
