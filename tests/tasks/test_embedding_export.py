"""The file of embeddings: what it holds, and that the package's own readers take it."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from safetensors import safe_open

from lavis.common.errors import ConfigError
from lavis.datasets.fields.embeds import EmbedsLoader
from lavis.models.abilities import JointEmbedder
from lavis.tasks.embedding_export import EmbeddingExportTask


class Model:
    """Embeds the k-th object as the k-th axis; points have two queries."""

    abilities = (JointEmbedder,)
    modalities = ("point", "image")
    device, space = torch.device("cpu"), "minilm"

    def embed(self, samples, modality):
        rows = torch.eye(4)[["wxyz".index(name) for name in samples["instance_id"]]]
        return rows if modality == "image" else torch.stack([rows, rows.flip(1)], 1)

    def embed_texts(self, texts):
        return torch.eye(4)[: len(texts)]


class Dataset(list):
    def __init__(self):
        super().__init__(range(4))
        self.annotation = [{"instance_id": name, "caption": "a"} for name in "wxyz"]

    def collater(self, rows):
        names = ["wxyz"[row] for row in rows]
        fields = {name: torch.zeros(len(rows), 1, 3) for name in ("point_cloud", "image_embeds")}
        return fields | {"instance_id": names, "text_input": ["a"] * len(rows)}


def export(folder, **options):
    task, dataset, model = EmbeddingExportTask(OmegaConf.create(options)), Dataset(), Model()
    task.before_evaluation(model, dataset)
    loader = [dataset.collater([3, 0, 2]), dataset.collater([1])]
    records = task.evaluation(model, loader)
    runner = SimpleNamespace(
        evaluate_only=True, result_dir=folder, config={}, git=None, checkpoint=None
    )
    scores = task.score(records, dataset, model)
    for suffix, content in scores.files.items():
        (folder / f"{runner.evaluate_only}_{suffix}").write_bytes(content)
    return folder / "True_embeds.safetensors", scores


def test_the_file_holds_every_modality_by_id(tmp_path):
    path, scores = export(tmp_path)
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["ids"]) == list("wxyz")
        assert file.metadata()["space"] == "minilm"
        assert torch.equal(file.get_tensor("image_embeds")[:, 0], torch.eye(4))
        assert file.get_tensor("point_embeds").shape == (4, 2, 4)
    assert scores.agg_metrics is None
    assert scores.extra["modalities"] == ["point", "image"]


def test_a_data_set_can_read_it(tmp_path):
    loader = EmbedsLoader(export(tmp_path)[0])
    sample = loader.load({"object_id": "y"}, np.random.default_rng(0))
    assert torch.equal(sample["image_embeds"], torch.eye(4)[2:3])
    assert loader.space == "minilm"


def test_one_modality_is_enough_and_an_absent_one_is_refused(tmp_path):
    assert export(tmp_path, modalities=["image"])[1].extra["modalities"] == ["image"]
    with pytest.raises(ConfigError, match="audio"):
        export(tmp_path, modalities=["audio"])
