"""Small scenes with labels, and models that find what they are told to."""

from __future__ import annotations

import json

import numpy as np
import torch
from omegaconf import OmegaConf

from lavis.datasets.fields.boxes import boxes_of
from lavis.datasets.samples import collate
from lavis.models.abilities import (
    Detector,
    InstanceSegmenter,
    ReferringSegmenter,
    SceneSegmenter,
    check_abilities,
)
from tests.tasks.evaluating_runner import runner_in

NAMES = ["floor", "chair", "table"]
COLORS = np.array([[0.5, 0.5, 0.5], [0.9, 0.1, 0.1], [0.1, 0.1, 0.9], [0.1, 0.9, 0.1]])


def scene(seed: int, kinds: tuple[int, ...]) -> dict[str, np.ndarray]:
    """A floor of 4 m with a cube of 150 points per kind (class), in the colour of its class."""
    rng = np.random.default_rng(seed)
    parts = [np.c_[rng.uniform(-2, 2, 400), np.zeros(400), rng.uniform(-2, 2, 400)]]
    labels, instances = [np.zeros(400, int)], [np.full(400, -1)]
    for number, kind in enumerate(kinds):
        middle = np.array([-1.2 + 1.2 * number, 0.5, rng.uniform(-1, 1)])
        parts.append(middle + rng.uniform(-0.15, 0.15, (150, 3)))
        labels.append(np.full(150, kind))
        instances.append(np.full(150, number))
    semantic = np.concatenate(labels)
    return {
        "xyz": np.concatenate(parts).astype(np.float32),
        "rgb": COLORS[semantic].astype(np.float32),
        "semantic_label": semantic,
        "instance_label": np.concatenate(instances),
    }


SCENES = {"a": scene(0, (1, 2)), "b": scene(1, (1,)), "c": scene(2, (2, 1, 1))}
HELD_OUT = {"h": scene(3, (1, 3)), "i": scene(4, (3, 3))}  # class 3: "lamp"
TRAIN = {"t": scene(5, (1, 2)), "u": scene(6, (2, 1, 2))}


class Store:
    """Scenes by id."""

    def load_points(self, name):
        return dict((SCENES | TRAIN | HELD_OUT)[name])


class Scenes:
    """A split of scenes; of `sentences`, each about the object of a scene."""

    def __init__(self, scenes=tuple(SCENES), names=NAMES, sentences=()):
        self.class_names, self.sentences = list(names), list(sentences)
        self.scenes, self.point_store = list(scenes), Store()
        ids = [s["instance_id"] for s in self.sentences] or self.scenes
        self.annotation = [{"instance_id": i} for i in ids]

    def train_annotation(self):
        return [{"object_id": name} for name in TRAIN]

    def sample(self, row):
        one = self.sentences[row] if self.sentences else {"instance_id": self.scenes[row]}
        points = Store().load_points(one.get("scene", one["instance_id"]))
        xyz, labels = points["xyz"], (points["semantic_label"], points["instance_label"])
        return {
            "point_cloud": torch.from_numpy(np.concatenate([xyz, points["rgb"]], 1)),
            "semantic_label": torch.from_numpy(labels[0]),
            "instance_label": torch.from_numpy(labels[1]),
            **boxes_of(xyz, *labels),
            **{k: v for k, v in one.items() if k != "scene"},
        }

    def batches(self, size=2):
        rows = range(len(self.annotation))
        parts = [list(rows[k : k + size]) for k in range(0, len(rows), size)]
        return [collate([self.sample(row) for row in part]) for part in parts]


class Oracle:
    """Knows the labels; `wrong` points get another class, objects of `missed` are not found."""

    abilities = (SceneSegmenter, InstanceSegmenter, Detector, ReferringSegmenter)
    device = torch.device("cpu")

    def __init__(self, wrong=0.0, missed=(), names=NAMES):
        self.wrong, self.missed, self.class_names = wrong, missed, tuple(names)

    def segment_points(self, batch, labels=None):
        names = list(labels or self.class_names)
        best = batch["semantic_label"].clamp(min=0, max=len(names) - 1)
        other = torch.rand(best.shape, generator=torch.Generator().manual_seed(0)) < self.wrong
        return torch.nn.functional.one_hot(torch.where(other, 0, best), len(names)).float()

    def segment(self, batch):
        return [self._found(*one) for one in zip(batch["semantic_label"], batch["instance_label"])]

    def _found(self, semantic, instance):
        ids = [i for i in instance.unique().tolist() if i >= 0]
        labels = [int(semantic[instance == i][0]) for i in ids]
        kept = [k for k, label in enumerate(labels) if label not in self.missed]
        masks = [instance == ids[k] for k in kept]
        return {
            "masks": torch.stack(masks) if masks else torch.zeros(0, len(instance)).bool(),
            "labels": torch.tensor([labels[k] for k in kept], dtype=torch.int64),
            "scores": torch.linspace(0.9, 0.5, len(kept)),
        }

    def detect(self, batch):
        found = []
        for boxes, labels in zip(batch["boxes"], batch["box_label"]):
            kept = torch.tensor([int(k) not in self.missed for k in labels], dtype=torch.bool)
            scores = torch.linspace(0.9, 0.5, int(kept.sum()))
            found.append({"boxes": boxes[kept], "labels": labels[kept], "scores": scores})
        return found

    def refer(self, batch):
        meant = batch["instance_label"] == batch["target_instance"][:, None]
        empty = torch.tensor([text in self.missed for text in batch["text_input"]])
        return torch.where(meant & ~empty[:, None], 1.0, -1.0)


def evaluate(task_class, folder, dataset, model, **options):
    """Run a task in batches of two; returns the metrics record and the predictions."""
    task = task_class(OmegaConf.create({"seed": 0} | options))
    check_abilities(model, task.needed_abilities(), task.name)
    task.before_evaluation(model, dataset)
    records = task.evaluation(model, dataset.batches())
    runner = runner_in(folder)
    task.after_evaluation(records, "test", "best", dataset, model, runner)
    return [json.loads((folder / f"test{s}.json").read_text()) for s in ("_metrics", "")]


def values(record):
    """{metric: value} of a metrics record."""
    return {name: entry["value"] for name, entry in record["metrics"].items()}
