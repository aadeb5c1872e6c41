"""The committed subset, scored by the package: files of runs as evaluate.py writes them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from omegaconf import OmegaConf

from lavis.datasets.datasets.point_text_datasets import (
    PointClassificationDataset,
    PointQADataset,
    PointRetrievalDataset,
    PointTextDataset,
)
from lavis.datasets.stores.point_stores import PackedPointStore
from lavis.models.abilities import Reranker
from lavis.processors.blip_processors import TidyCaptionProcessor, TidyQuestionProcessor
from lavis.tasks.pair_scores import OBJECT_TO_TEXT, TEXT_TO_OBJECT, PairScores
from lavis.tasks.point_captioning import PointCaptioningTask
from lavis.tasks.point_classification import PointClassificationTask
from lavis.tasks.point_qa import PointQATask
from lavis.tasks.point_retrieval import PointRetrievalTask
from tests.tasks.evaluating_runner import runner_in

SUBSET = Path(__file__).parent / "recompute_subset"
RUN = OmegaConf.create({"seed": 42, "batch_size_eval": 8})
DATASETS = {
    "caption": (PointTextDataset, TidyCaptionProcessor()),
    "retrieval": (PointRetrievalDataset, TidyCaptionProcessor()),
    "class": (PointClassificationDataset, TidyCaptionProcessor()),
    "qa": (PointQADataset, TidyQuestionProcessor()),
}


def predictions(name):
    """Predictions of the subset, cut from a real run."""
    return json.loads((SUBSET / "predictions" / f"{name}.json").read_text())


def dataset(data, kind, split, ids, id_key="object_id", **options):
    """A split of the data folder, with only the items that were predicted."""
    cls, processor = DATASETS[kind]
    kind = "caption" if kind == "retrieval" else kind
    paths = [data / "annotations" / f"{kind}_{part}.json" for part in (split, "train")]
    store = PackedPointStore(data)
    found = cls(
        *(lambda cloud: cloud, processor, store, paths[:1]), train_ann_paths=paths[1:], **options
    )
    found.annotation = [entry for entry in found.annotation if str(entry[id_key]) in set(ids)]
    manifest = json.loads((data / "manifest.json").read_text())
    found.data_version = {"name": "bricks", **manifest["counts"], **manifest["parameters"]}
    found.unit = "stud"
    return found


class FixedScores(PairScores):
    """Pair scores that were chosen instead of computed."""

    given: dict[str, torch.Tensor]

    def rows(self, direction):
        """Yield the whole matrix as one block."""
        yield slice(0, len(self.ids)), self.given[direction]


class Matcher:
    """A model that declares re-ranking."""

    abilities = (Reranker,)


def finish(task, records, split_data, folder, split="dev_test", model=None):
    """Score and write, as the runner's last step does."""
    runner = runner_in(folder / "result", job=folder.name)
    task.after_evaluation(records, split, "best", split_data, model, runner)


def write_captioning(data, folder, text_field="caption"):
    """Captions; with `colored_caption` the same predictions against texts with the colour."""
    records = predictions("point_captioning_dev_test")
    ids = [record["image_id"] for record in records]
    split_data = dataset(data, "caption", "dev_test", ids, text_field=text_field)
    caption_of = {entry["object_id"]: entry["caption"] for entry in split_data.annotation}
    rng, task = np.random.default_rng(0), PointCaptioningTask(RUN)
    task.train_captions = [entry["caption"] for entry in split_data.train_annotation()]
    task.train_embeds = rng.normal(size=(len(task.train_captions), 4))
    for record in records:
        own = {"2d_caption": caption_of[record["image_id"]], "embedding": rng.normal(size=4)}
        record.update(own)
    finish(task, records, split_data, folder)


def write_qa(data, folder):
    """Answers."""
    records = predictions("point_qa_dev_test")
    split_data = dataset(data, "qa", "dev_test", [r["question_id"] for r in records], "question_id")
    finish(PointQATask(RUN), records, split_data, folder)


def write_classification(data, folder, split="dev_test"):
    """Classes: scores are rebuilt from the five best."""
    entries = predictions(f"point_classification_{split}")
    key = "held_out_class_names" if split == "held_out" else "class_names"
    names = json.loads((data / "classes.json").read_text())[key]
    ids = [entry["instance_id"] for entry in entries]
    split_data = dataset(data, "class", split, ids, class_names=names)
    task = PointClassificationTask(RUN)
    task.templates, task.train_embeds = ["{}"], None
    records = []
    for entry in entries:
        scores = np.zeros(len(names), dtype=np.float32)
        scores[[names.index(name) for name in entry["top_5"]]] = [5, 4, 3, 2, 1]
        label = names.index(entry["label"])
        records.append({"instance_id": entry["instance_id"], "label": label, "scores": scores})
    finish(task, records, split_data, folder, split)


def similarity_of_ranks(ranks, groups):
    """Scores [N,N] with these ranks of the right items; rows of equal `groups` are right."""
    n = len(ranks)
    scores = np.random.default_rng(0).uniform(-2, -1, size=(n, n)).astype(np.float32)
    right = np.array(groups)[:, None] == np.array(groups)[None, :]
    for row, rank in enumerate(ranks):
        scores[row, right[row]] = 0.0
        wrong = np.flatnonzero(~right[row])
        scores[row, wrong[: min(rank, len(wrong) + 1) - 1]] *= -1
    return torch.from_numpy(scores)


def write_retrieval(data, folder, text_field="caption"):
    """Ranks, capped at the size of the subset's gallery."""
    entries = sorted(predictions("point_retrieval_dev_test"), key=lambda e: e["instance_id"])
    ids = [entry["instance_id"] for entry in entries]
    split_data = dataset(data, "retrieval", "dev_test", ids, text_field=text_field)
    text_of = {e["instance_id"]: e["caption"] for e in split_data.annotation}
    captions = [split_data.text_processor(text_of[i]) for i in ids]
    objects, texts = (
        similarity_of_ranks([entry[f"{name}_rank"] for entry in entries], captions)
        for name in ("object_to_text", "text_to_object")
    )
    task = PointRetrievalTask(RUN)
    empty = torch.zeros(len(ids), 2)
    task.pairs = FixedScores(ids, captions, empty, empty, torch.tensor(1.0))
    task.pairs.given = {OBJECT_TO_TEXT: objects, TEXT_TO_OBJECT: texts}
    records = [{"instance_id": i, "caption": text} for i, text in zip(ids, captions)]
    finish(task, records, split_data, folder, model=Matcher())


def write_runs(folder):
    """Score everything on a copy of the data, where baselines may keep their features."""
    data, runs = folder / "data", folder / "runs"
    shutil.copytree(SUBSET / "data", data)
    write_captioning(data, runs / "captioning")
    write_captioning(data, runs / "captioning_color", "colored_caption")
    write_qa(data, runs / "qa")
    write_classification(data, runs / "classification")
    write_classification(data, runs / "classification", "held_out")
    write_retrieval(data, runs / "retrieval")
    write_retrieval(data, runs / "retrieval_color", "colored_caption")
    return runs
