"""Zero-shot classification: class names in prompt templates against the object's embedding.

Baselines are those of evaluation/baselines/classes.py, from the full training split, and chance.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lavis.common.errors import ConfigError
from lavis.common.registry import registry
from lavis.evaluation.baselines.classes import class_baselines
from lavis.evaluation.baselines.pool import Pool, pool_of
from lavis.evaluation.classification import (
    TOP,
    ClassificationScores,
    chance_accuracy,
    classification_scores,
)
from lavis.evaluation.confusion_picture import confusion_svg
from lavis.evaluation.probes import probe_metrics
from lavis.evaluation.prompt_sets import load_templates
from lavis.models.abilities import JointEmbedder
from lavis.tasks.data_needs import DataNeeds
from lavis.tasks.embedding import embed_objects, object_embeddings, similarity
from lavis.tasks.modality_retrieval import check_modalities
from lavis.tasks.options import TaskOptions, task_option
from lavis.tasks.point_captioning import object_ids_of
from lavis.tasks.point_task import PointTask, Scores, by_id

# What is compared with the class names; cosines of several modalities are added.
QUERIES = {
    "point": ("point",),
    "image": ("image",),
    "joint": ("joint",),
    "merged": ("point", "image"),
}


@dataclass(frozen=True)
class ClassificationOptions(TaskOptions):
    """Options of zero-shot classification."""

    query: str = task_option(
        "point", "modality that is classified; merged: cosines of point + image", choices=[*QUERIES]
    )
    prompt_templates: str | None = task_option(
        None, "name, short, ensemble, or a file of templates; null: the data set's own, else short"
    )
    linear_probe: bool = task_option(False, "also train a linear classifier on the embeddings")
    few_shot: tuple[str, ...] = task_option((), "also classify by so many objects per class: ['5']")


@registry.register_task("point_classification")
class PointClassificationTask(PointTask):
    """Score each object against every class name without training on labels."""

    name = "point_classification"
    needs = (JointEmbedder,)
    options_class = ClassificationOptions
    data_needs = DataNeeds(classes=True)
    metric_names = (*(f"top_{k}" for k in TOP), "class_mean_accuracy")

    def possible_metrics(self, model: Any) -> tuple[str, ...]:
        """Return the scores, with those of the requested probes."""
        shots = tuple(f"few_shot_{k}/top_1" for k in self.options.few_shot)
        linear = ("linear_probe/top_1",) if self.options.linear_probe else ()
        return self.metric_names + linear + shots

    def check_inputs(self, model: Any, dataset: Any) -> None:
        """Refuse a query that the model or the data set lacks, and probes of other queries."""
        if self.options.query == "point":
            return
        batch = dataset.collater([dataset[0]])
        check_modalities(model.modalities, batch, QUERIES[self.options.query], "run.query")
        if self.options.linear_probe or self.options.few_shot:
            what = "linear_probe and few_shot classify by the embeddings of clouds"
            got = self.options.query
            raise ConfigError(what, where="run.query", got=got, expected="point")

    def before_evaluation(self, model: Any, dataset: Any, **kwargs: Any) -> None:
        """Embed the class names once."""
        self.check_inputs(model, dataset)
        asked = self.options.prompt_templates
        own = None if asked else dataset.class_templates
        self.templates = list(own or load_templates(asked or "short"))
        self.class_embeds = self._class_embeds(model, dataset)
        self.train_embeds: np.ndarray | None = None
        self.probing = self.options.linear_probe or bool(self.options.few_shot)
        if self.probing:
            reference = dataset.reference_dataset()
            self.train_labels = [reference.label_field(e)["label"] for e in reference.annotation]
            self.train_embeds = embed_objects(model, reference, int(self.run_cfg.batch_size_eval))

    def _class_embeds(self, model: Any, dataset: Any) -> Tensor:
        """Return what the classes are compared by [K,E]: prompts, or what came with the data."""
        given = getattr(dataset, "class_embeds", None)
        if given is None:
            return class_embeddings(model, dataset.class_names, self.templates)
        if not hasattr(model, "embed_text_features"):
            what = "the model embeds texts, not the text features of the data set"
            where, fix = "build_info.class_embeds.storage", "build_info.class_embeds.storage=null"
            raise ConfigError(what, where=where, got=type(model).__name__, fix=fix)
        self.templates = []  # the release has those of the features
        return model.embed_text_features(torch.from_numpy(given))

    def valid_step(self, model: Any, samples: dict[str, Any]) -> list[dict[str, Any]]:
        """Score a batch against every class."""
        scores = self.class_scores(model, samples).cpu().numpy()
        records = [
            {"instance_id": str(i), "label": int(label), "scores": row}
            for i, label, row in zip(samples["instance_id"], samples["label"], scores, strict=True)
        ]
        if self.probing:
            embeds = object_embeddings(model, samples).float().cpu().numpy()
            for record, embed in zip(records, embeds, strict=True):
                record["embedding"] = embed
        return records

    def class_scores(self, model: Any, samples: dict[str, Any]) -> Tensor:
        """Compare the queries of a batch with every class: [B,K]."""
        embeds = [model.embed(samples, modality) for modality in QUERIES[self.options.query]]
        return torch.stack([similarity(own, self.class_embeds) for own in embeds]).sum(0)

    def score(self, records: list[dict[str, Any]], dataset: Any, model: Any) -> Scores:
        """Return top-1/3/5 and class mean, with baselines that learn no embedding."""
        names = list(dataset.class_names)
        labels = [record["label"] for record in records]
        scores = classification_scores(
            np.stack([record["scores"] for record in records]), labels, names
        )
        ids = [record["instance_id"] for record in records]
        pool, baselines = self.baselines(ids, labels, dataset)
        values = {name: given.values for name, given in baselines.items()}
        return Scores(
            metrics=scores.metrics() | self.probes(records, labels),
            baselines={"chance": chance_accuracy(len(names)), **values},
            agg_metrics=scores.values["top_1"],
            extra={
                **({} if self.options.query == "point" else {"query": self.options.query}),
                "templates": self.templates,
                "protocol": protocol(names, pool.train),
                "per_class": scores.per_class,
                "classes": names,
                "confusion": scores.confusion.tolist(),
                **({"baseline_pool": pool.size} if pool.whole else {}),
            },
            predictions=[named_prediction(record, names) for record in records],
            per_item=by_id(ids, top_items(scores)),
            baseline_items={
                name: by_id(ids, top_items(given)) for name, given in baselines.items()
            },
            claims=["top_1"],
            files={"confusion.svg": confusion_svg(scores.confusion, names, self.name)},
        )

    def baselines(
        self, ids: list[str], labels: list[int], dataset: Any
    ) -> tuple[Pool, dict[str, ClassificationScores]]:
        """Return the training pool and the scores of each baseline that uses objects."""
        names = list(dataset.class_names)
        object_of = object_ids_of(dataset)
        objects = [object_of.get(i, i) for i in ids]
        pool = pool_of(dataset, objects)
        row_of = {name: row for row, name in enumerate(pool.object_ids)}
        rows = [row_of[i] for i in objects]
        found = class_baselines(pool, names) if pool.train else {}
        return pool, {
            name: classification_scores(scores[rows], labels, names)
            for name, scores in found.items()
        }

    def probes(self, records: list[dict[str, Any]], labels: list[int]) -> dict[str, dict[str, Any]]:
        """Return the requested linear probe and few-shot scores of the frozen embeddings."""
        if self.train_embeds is None:
            return {}
        return probe_metrics(
            self.train_embeds,
            self.train_labels,
            np.stack([record["embedding"] for record in records]),
            labels,
            shots=[int(k) for k in self.options.few_shot],
            linear=self.options.linear_probe,
            seed=int(self.run_cfg.get("seed", 42)),
        )


@torch.no_grad()
def class_embeddings(model: Any, names: Sequence[str], templates: Sequence[str]) -> Tensor:
    """Average each class' prompts in the space of a JointEmbedder: unit [K,E]."""
    prompts = [template.format(name) for name in names for template in templates]
    embeds = model.embed_texts(prompts).unflatten(0, (len(names), len(templates)))
    return F.normalize(embeds.mean(1), dim=-1)


def top_items(scores: ClassificationScores) -> dict[str, np.ndarray]:
    """Return {"top_<k>": 0 or 1 for each item [N]}."""
    return {f"top_{k}": (scores.ranks <= k).astype(float) for k in TOP}


def protocol(class_names: Sequence[str], train: Sequence[Mapping[str, Any]]) -> str:
    """Return `zero_shot` when no training text names a class (or its plural), else `prompted`.

    Args:
        class_names: of the evaluated classes.
        train: training records, with `caption` and `category` where they have them.
    """
    named = re.compile(rf"\b(?:{'|'.join(map(re.escape, class_names))})(?:s|es)?\b", re.IGNORECASE)
    texts = (str(entry.get(key, "")) for entry in train for key in ("caption", "category"))
    return "prompted" if any(map(named.search, texts)) else "zero_shot"


def named_prediction(record: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Replace the scores by the five best class names."""
    best = np.argsort(-record["scores"], kind="stable")[:5]
    return {
        "instance_id": record["instance_id"],
        "label": names[record["label"]],
        "prediction": names[int(best[0])],
        "top_5": [names[int(index)] for index in best],
    }
