"""A cloud plus a sound: which queries there are, and how the sum is compared with its parts."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from omegaconf import OmegaConf
from torch.nn import functional as F

from lavis.common.errors import ConfigError, DataError, EvaluationError
from lavis.models.abilities import JointEmbedder
from lavis.tasks.embedding_arithmetic import EmbeddingArithmeticTask, Query, make_queries

# id: category, class of the sound
ITEMS = {
    "a": ("animal", "dog"),
    "b": ("animal", ""),
    "c": ("animal", "cat"),
    "d": ("figure", "dog"),
    "e": ("figure", ""),
    "f": ("figure", "cat"),
    "g": ("plate", ""),
}
AXES = {name: row for row, name in enumerate(("animal", "figure", "plate", "dog", "cat", ""))}


def embedding(*names):
    return F.normalize(torch.eye(6)[[AXES[name] for name in names]].sum(0), dim=-1)


class Additive:
    """A cloud is its category and its class, a sound its class."""

    abilities = (JointEmbedder,)
    modalities = ("point", "image", "audio")
    device = torch.device("cpu")

    def embed(self, samples, modality):
        items = [ITEMS[name] for name in samples["instance_id"]]
        if modality == "audio":
            return torch.stack([embedding(sound) for _, sound in items])
        return torch.stack([embedding(*filter(None, item)) for item in items])


class Dataset(list):
    def __init__(self, names="abcdefg", category=True):
        super().__init__(names)
        self.annotation = [
            {"instance_id": n, "caption": n} | ({"category": ITEMS[n][0]} if category else {})
            for n in names
        ]

    def collater(self, names):
        sounds = [ITEMS[name][1] for name in names]
        batch = {"point_cloud": torch.zeros(len(names), 1, 3), "audio_class": sounds}
        if any(sounds):
            batch["audio_embeds"] = torch.zeros(len(names), 1, 6)
            batch["audio_embeds_mask"] = torch.tensor([[bool(sound)] for sound in sounds])
        return batch | {"instance_id": list(names), "text_input": list(names)}


def score(dataset, **options):
    task, model = EmbeddingArithmeticTask(OmegaConf.create({"seed": 0} | options)), Additive()
    task.check_data(dataset, "test")
    task.before_evaluation(model, dataset)
    records = task.evaluation(model, [dataset.collater(dataset[:2]), dataset.collater(dataset[2:])])
    return task.score(records, dataset, model)


def test_queries_are_clouds_of_a_category_with_the_sounds_of_others():
    categories, sounds = zip(*ITEMS.values())
    queries = make_queries(categories, sounds)
    assert Query("1+animal+dog", 1, 0, (0,)) in queries
    assert Query("4+figure+cat", 4, 2, (5,)) in queries  # the sound is that of the first cat
    assert Query("2+animal+dog", 2, 0, (0,)) in queries  # a cat and a bark
    assert len(queries) == 8
    assert make_queries(categories, sounds, ambiguous=True) == queries  # dogs and cats of both
    alone = make_queries(categories[:5], sounds[:5], ambiguous=True)  # one cat is left
    assert {q.name.split("+")[2] for q in alone} == {"dog"}
    assert all(q.point not in q.right for q in queries)


def test_the_sum_finds_what_neither_part_finds():
    scores = score(Dataset())
    assert scores.metrics["recall_at_1"]["value"] == 1.0
    for way in ("point_alone", "audio_alone"):
        assert scores.baselines[way]["recall_at_1"] < 1.0
        assert set(scores.baseline_items[way]) == set(scores.per_item)
    assert scores.extra["queries"] == 8
    assert scores.extra["pairs_of_classes"] == 4
    assert scores.baselines["chance"]["recall_at_1"] == pytest.approx(1 / 6)
    assert scores.claims == ["mean_reciprocal_rank"]
    assert len(scores.predictions) == 8


def test_a_share_of_one_is_the_cloud_alone():
    scores = score(Dataset(), point_share=1.0)
    assert scores.per_item == scores.baseline_items["point_alone"]


@pytest.mark.parametrize("names", ["beg", "adg"])
def test_data_without_a_query_are_refused(names):
    """No sounds; and dogs with nothing of their category beside them."""
    with pytest.raises(EvaluationError, match="no cloud and sound"):
        score(Dataset(names))


def test_what_is_missing_is_named():
    with pytest.raises(DataError, match="category"):
        score(Dataset(category=False))
    dataset, model = Dataset(), SimpleNamespace(modalities=("point", "text"))
    task = EmbeddingArithmeticTask(OmegaConf.create({"seed": 0}))
    with pytest.raises(ConfigError, match="audio"):
        task.check_inputs(model, dataset)
