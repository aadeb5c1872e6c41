"""Texts of the nearest training objects in retrieval."""

from __future__ import annotations

import pytest
import torch
from omegaconf import OmegaConf
from torch.nn import functional as F

from lavis.common.errors import ConfigError, DataError
from lavis.models.abilities import JointEmbedder
from lavis.tasks.neighbour_texts import NeighbourTexts
from lavis.tasks.point_retrieval import PointRetrievalTask

WORDS = ["plate", "brick", "tile", "gear"]


class Split:
    """Objects at angles of a circle; training has one of each word, close to the tested ones."""

    def __init__(self, angles, words, prefix, reference=None):
        self.angles, self._reference = torch.tensor(angles), reference
        self.annotation = [
            {"instance_id": f"{prefix}{k}", "caption": word, "group": f"{prefix}{k}"}
            for k, word in enumerate(words)
        ]

    def __len__(self):
        return len(self.annotation)

    def __getitem__(self, row):
        record = self.annotation[row]
        return {
            "instance_id": record["instance_id"],
            "text_input": record["caption"],
            "point_cloud": self.angles[row],
        }

    def collater(self, samples):
        batch = {key: [sample[key] for sample in samples] for key in samples[0]}
        return batch | {"point_cloud": torch.stack(batch["point_cloud"])}

    def text_fields(self, record):
        return {"text_input": record["caption"]}

    def train_annotation(self):
        return self.reference_dataset().annotation

    def reference_dataset(self):
        if self._reference is None:
            raise DataError("this data set has no training split", where="toy")
        return self._reference


class Circle:
    """Clouds that lie well among each other, and far from every text."""

    abilities = (JointEmbedder,)
    modalities = ("point", "text")
    device = torch.device("cpu")

    def embed(self, samples, modality):
        angle = samples["point_cloud"]
        flat = torch.stack([angle.cos(), angle.sin()], 1)
        return torch.cat([flat, torch.zeros(len(flat), len(WORDS))], 1)

    def embed_texts(self, texts):
        return torch.eye(len(WORDS) + 2)[[2 + WORDS.index(text) for text in texts]]


TRAIN = Split([0.0, 1.5, 3.0, 4.5], WORDS, "train")


def neighbours():
    return NeighbourTexts.read(Circle(), Split([0.1], ["plate"], "test", TRAIN), 3)


def test_the_mixture_is_that_of_the_cosines():
    found = neighbours()
    cloud = Circle().embed({"point_cloud": torch.tensor([0.4])}, "point")
    mixed = found.mixed(cloud, ["test0"], count=2, weight=0.3, temperature=0.5)
    cosines = torch.tensor([0.4, 1.1]).cos()  # of plate and brick
    share = (cosines / 0.5).softmax(0)
    texts = F.normalize(share[:1, None] * found.texts[:1] + share[1:, None] * found.texts[1:2])
    assert torch.allclose(mixed, 0.7 * cloud + 0.3 * texts)
    assert torch.equal(found.mixed(cloud, ["test0"], 2, 0.0, 0.5), cloud)


def test_an_object_of_training_never_finds_its_own_group():
    found = neighbours()
    cloud = found.clouds[:1]
    assert found.mixed(cloud, ["elsewhere"], 1, 1.0, 0.1)[0].argmax() == 2  # "plate", its own
    assert found.mixed(cloud, ["train0"], 1, 1.0, 0.1)[0].argmax() == 3  # "brick", the next


def test_retrieval_with_neighbours_finds_texts_that_no_cloud_is_near():
    split = Split([0.1, 1.4, 3.2, 4.4], WORDS, "test", TRAIN)
    recalls = []
    for count in (0, 1):
        keys = {"seed": 1, "batch_size_eval": 3, "neighbour_texts": count}
        task = PointRetrievalTask(OmegaConf.create(keys))
        task.before_evaluation(Circle(), split)
        records = task.evaluation(Circle(), OneBatch(split))
        recalls.append(task.score(records, split, Circle()).per_item)
    plain, mixed = recalls
    assert sum(plain["object_to_text/recall_at_1"].values()) < 2
    for name in ("object_to_text/recall_at_1", "text_to_object/recall_at_1"):
        assert set(mixed[name].values()) == {1.0}


class OneBatch(list):
    """A loader of a split in one batch."""

    def __init__(self, split):
        super().__init__([split.collater([split[row] for row in range(len(split))])])
        self.dataset, self.sampler = split, range(len(split))


class ManyVectors(Circle):
    """A model with two vectors per object."""

    def embed(self, samples, modality):
        return super().embed(samples, modality)[:, None].expand(-1, 2, -1)


def test_what_cannot_have_neighbours_is_refused():
    split = Split([0.1], ["plate"], "test", TRAIN)
    with pytest.raises(ConfigError, match=r"(?s)run\.neighbour_texts.*ManyVectors"):
        NeighbourTexts.read(ManyVectors(), split, 3)
    with pytest.raises(ConfigError, match="5 of 4 training objects"):
        neighbours().mixed(torch.zeros(1, 6), ["test0"], 5, 0.3, 0.1)
    with pytest.raises(DataError, match="no training split"):
        NeighbourTexts.read(Circle(), TRAIN, 3)
