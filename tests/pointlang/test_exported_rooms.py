"""A run that labels rooms is exported, and the folder labels them as the run does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from lavis.common.registry import registry

import pointlang
from lavis.common.checkpoint import save_checkpoint
from lavis.common.model_state import trainable_state
from lavis.config.run_config import RunConfig
from lavis.evaluation.sharing import main as export
from lavis.models.hub import read_config

RECIPE = "lavis/projects/text4point/train/rooms_segmentation.yaml"
GONE = "output/gone/rooms_pretrain/checkpoint_last.pth"
ENCODER = ("widths=[8,12,16]", "voxel_size=0.2")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, repo_root: Path, tiny_bert: str) -> Path:
    """The folder of a copied run of the recipe: its pre-training is not on this machine."""
    folder = tmp_path_factory.mktemp("text4point") / "rooms_segmentation"
    options = [f"model.point_encoder.{option}" for option in ENCODER]
    options += [f"model.text_teacher={tiny_bert}", "model.embed_dim=32", "model.query_heads=2"]
    folder.mkdir()
    config = RunConfig.from_file(repo_root / RECIPE, [*options, "model.pretrained=null"])
    torch.manual_seed(0)
    model = registry.get_model_class("text4point_segmentation").from_config(config.model_cfg)
    save_checkpoint({"model": trainable_state(model)}, folder / "checkpoint_last.pth")
    options += [f"model.pretrained={GONE}", f"model.point_encoder_weights={GONE}"]
    RunConfig.from_file(repo_root / RECIPE, options).save(folder / "config.yaml")
    return folder


def test_an_exported_segmenter_labels_rooms_as_its_run(run, tmp_path) -> None:
    room = np.random.default_rng(0).random((500, 6)) * [3, 2, 3, 1, 1, 1]
    assert export(["--run", str(run), "--out", str(tmp_path / "hub")]) == 0
    systems = [pointlang.load(folder, "cpu") for folder in (run, tmp_path / "hub")]
    assert systems[1].abilities == ("segment",)
    for labels in (None, ["wall", "sofa", "bed"], ["ladder", "floor lamp", "piano"]):
        own, shared = (system.segment(room, labels) for system in systems)
        assert shared.labels == own.labels
        assert len(set(own.label_of_point.tolist())) > 1  # else any labels would be equal
        np.testing.assert_array_equal(shared.label_of_point, own.label_of_point)
        np.testing.assert_array_equal(shared.confidence, own.confidence)
    config = read_config(tmp_path / "hub")
    assert config["base_models"].keys() == {"model.text_teacher"}
    assert str(run) not in (tmp_path / "hub" / "config.json").read_text()
