"""Retrieval between all ordered pairs of the modalities of a tiny model with three."""

from __future__ import annotations

import json

import pytest
import torch
from omegaconf import OmegaConf

from lavis.common.errors import ConfigError, EvaluationError
from lavis.models.abilities import JointEmbedder, check_abilities
from lavis.tasks.modality_retrieval import ModalityRetrievalTask, choose_modalities
from tests.tasks.evaluating_runner import runner_in

NAMES = "wxyz"
TEXTS = ["a chair", "a table", "a chair", "a lamp"]


class ThreeModalities:
    """Points and texts agree, images are those of the next object; points have two queries."""

    abilities = (JointEmbedder,)
    modalities = ("point", "text", "image")
    device = torch.device("cpu")

    def embed(self, samples, modality):
        rows = [NAMES.index(i) for i in samples["instance_id"]]
        if modality == "text":
            return self.embed_texts(samples["text_input"])
        if modality == "image":
            return torch.eye(4)[[(row + 1) % 4 for row in rows]]
        kinds = self.embed_texts([TEXTS[row] for row in rows])
        return torch.stack([kinds, torch.eye(4)[[3] * len(rows)]], dim=1)  # [B,2,4]

    def embed_texts(self, texts):
        return torch.eye(4)[[TEXTS.index(text) for text in texts]]


class Dataset(list):
    """Four objects with clouds, texts and images; two have the same text."""

    def __init__(self, fields=("point_cloud", "image")):
        super().__init__(range(4))
        self.annotation = [{"instance_id": i, "caption": t} for i, t in zip(NAMES, TEXTS)]
        self.fields = fields

    def collater(self, rows):
        batch = {name: torch.zeros(len(rows), 1, 3) for name in self.fields}
        batch["instance_id"] = [NAMES[row] for row in rows]
        return batch | {"text_input": [TEXTS[row] for row in rows]}


def evaluate(folder, dataset, **options):
    """Run the task in batches of three; returns metrics record and predictions."""
    task = ModalityRetrievalTask(OmegaConf.create({"seed": 0} | options))
    model = ThreeModalities()
    check_abilities(model, task.needed_abilities(), task.name)
    task.before_evaluation(model, dataset)
    loader = [dataset.collater([3, 0, 2]), dataset.collater([1])]
    records = task.evaluation(model, loader)
    runner = runner_in(folder)
    task.after_evaluation(records, "test", "best", dataset, model, runner)
    return [json.loads((folder / f"test{s}.json").read_text()) for s in ("_metrics", "")]


def test_all_ordered_pairs_are_scored(tmp_path):
    record, predictions = evaluate(tmp_path, Dataset())
    pairs = {name.split("/")[0] for name in record["metrics"]}
    names = ("point", "text", "image")
    assert pairs == {f"{a}_to_{b}" for a in names for b in names if a != b}
    value = {name: entry["value"] for name, entry in record["metrics"].items()}
    # Equal texts are equally right; the lamp's query token is in every cloud and ties with it.
    assert value["text_to_point/recall_at_1"] == 0.75
    assert value["image_to_text/recall_at_1"] == 0.0
    assert record["baselines"]["chance"]["point_to_image/recall_at_1"] == 0.25
    assert record["baselines"]["chance"]["point_to_text/recall_at_1"] > 0.25
    assert [entry["instance_id"] for entry in predictions] == list(NAMES)
    assert record["extra"]["modalities"] == list(names)


def test_a_data_set_without_images_pairs_the_rest(tmp_path):
    record, _ = evaluate(tmp_path, Dataset(fields=("point_cloud",)))
    assert {name.split("/")[0] for name in record["metrics"]} == {"point_to_text", "text_to_point"}


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        (("point", "image"), "data set has no 'image'"),
        (("point", "audio"), "model has no 'audio'"),
        (("point",), "too few modalities"),
    ],
)
def test_modalities_that_cannot_be_paired_are_refused(asked, problem):
    batch = Dataset(fields=("point_cloud",)).collater([0])
    with pytest.raises(ConfigError, match=rf"{problem}(.|\n)*run\.modalities"):
        choose_modalities(("point", "text", "image"), batch, asked)


class WithSounds(ThreeModalities):
    """Sounds of x and z agree with their images, which are those of the next object."""

    modalities = ("image", "audio")

    def embed(self, samples, modality):
        return super().embed(samples, "image")


class SoundingData(Dataset):
    """Of four objects `sounding` have a sound, all of them of one class."""

    def __init__(self, sounding):
        super().__init__(fields=("image",))
        self.sounding = sounding

    def collater(self, rows):
        has = [NAMES[row] in self.sounding for row in rows]
        batch = super().collater(rows)
        batch["audio_class"] = ["bell" if own else "" for own in has]
        if any(has):
            batch["audio_embeds"] = torch.zeros(len(rows), 1, 4)
            batch["audio_embeds_mask"] = torch.tensor(has)[:, None]
        return batch


def rank(dataset):
    task, model = ModalityRetrievalTask(OmegaConf.create({"seed": 0})), WithSounds()
    task.before_evaluation(model, dataset)
    records = task.evaluation(model, [dataset.collater([3, 0, 2]), dataset.collater([1])])
    return task.score(records, dataset, model)


def test_items_without_a_sound_leave_the_pairs_with_sounds():
    scores = rank(SoundingData("xyz"))
    assert scores.extra["items"] == {"image_to_audio": 3, "audio_to_image": 3}
    # Every sound is of the one class and right for every image.
    assert scores.baselines["chance"]["audio_to_image/recall_at_1"] == 1.0
    assert set(scores.predictions[0]) == {"instance_id"}
    assert scores.predictions[1]["audio_to_image_rank"] == 1
    assert set(scores.per_item["audio_to_image/recall_at_1"]) == set("xyz")


def test_data_without_a_sound_are_refused_with_a_reason():
    with pytest.raises(EvaluationError, match="no item has two modalities"):
        rank(SoundingData(""))


def test_a_single_sound_is_ranked_among_itself():
    scores = rank(SoundingData("w"))
    assert scores.metrics["audio_to_image/recall_at_1"]["value"] == 1.0
    assert scores.baselines["chance"]["audio_to_image/recall_at_1"] == 1.0
