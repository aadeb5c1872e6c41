"""Two-way retrieval: text -> object and object -> text, PTC first, PTM on the best candidates.

`run.ptm_weight` mixes PTM into the scores of the candidates. `extra["ptm_weight_curve"]` holds
recall@1 for several weights: choose the weight on val, then set it for the test split.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lavis.common.dist_utils import all_gather_object_list
from lavis.common.errors import ConfigError, explain, nearest
from lavis.common.registry import registry
from lavis.datasets.data_utils import move_to_device
from lavis.evaluation.baselines import chance_retrieval
from lavis.evaluation.baselines.expected_recalls import recall_scores
from lavis.evaluation.baselines.pool import pool_of
from lavis.evaluation.baselines.retrieval import retrieval_baselines
from lavis.evaluation.retrieval import (
    RetrievalScores,
    retrieval_scores,
    streamed_retrieval_scores,
)
from lavis.models.point_blip_models.similarity import SimilarityMatrices
from lavis.tasks.options import TaskOptions, task_option
from lavis.tasks.point_task import PointTask, Scores, by_id, text_name

TOP_SHOWN = 10
CURVE_WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
# Log-odds of a PTM at the start of its training are noise of 0.1 to 0.2, PTC logits of the best
# candidates differ by 0.5: 0.2 costs little then. A trained PTM's log-odds still decide.
DEFAULT_PTM_WEIGHT = 0.2
CLAIMED = ("object_to_text/recall_at_1", "text_to_object/recall_at_1")
EXTRA_DIRECTIONS = ("object_to_object", "image_to_object")


@dataclass(frozen=True)
class RetrievalOptions(TaskOptions):
    """Options of retrieval."""

    k_test: int = task_option(128, "candidates re-ranked by matching; 0: none", low=0)
    ptm_weight: float = task_option(
        DEFAULT_PTM_WEIGHT, "weight of matching in re-ranked scores", low=0
    )
    extra_directions: tuple[str, ...] = task_option((), ", ".join(EXTRA_DIRECTIONS))


@registry.register_task("point_retrieval")
class PointRetrievalTask(PointTask):
    """Rank all captions for each object and all objects for each caption.

    Equal captions are equally right: a query's positives are all items with its caption.
    """

    name = "point_retrieval"
    options_class = RetrievalOptions

    @torch.no_grad()
    def evaluation(self, model: Any, data_loader: Any, **kwargs: Any) -> list[dict[str, Any]]:
        """Score all pairs; every rank holds the same matrices, so one rank reports each item."""
        k_test = self.options.k_test
        self.matrices: SimilarityMatrices = model.compute_sim_matrix(data_loader, k_test)
        if "image_to_object" in self.options.extra_directions:
            found = embed_images(model, data_loader)
            self.image_embeds = np.stack([found[i] for i in self.matrices.instance_ids])
        own_ids = {str(i) for i in data_loader_ids(data_loader)}
        return [
            {"instance_id": i, "caption": caption}
            for i, caption in zip(self.matrices.instance_ids, self.matrices.captions)
            if i in own_ids
        ]

    def score(self, records: list[dict[str, Any]], dataset: Any, model: Any) -> Scores:
        """Recall@1/5/10, ranks and mAP both ways, re-ranked and by contrast alone."""
        matrices = self.matrices
        positives = same_caption_groups(matrices.captions)
        results = {
            name: retrieval_scores(
                scores.numpy(), positives, query_ids=matrices.instance_ids, top_k=TOP_SHOWN
            )
            for name, scores in self.directions().items()
        }
        metrics = {
            f"{name}/{metric}": entry
            for name, result in results.items()
            for metric, entry in result.metrics().items()
        }
        curve = ptm_weight_curve(matrices, positives)
        baselines, baseline_items, pool = self.baselines(list(results), positives, dataset)
        self.add_directions(metrics, baselines, dataset)
        recalls = [
            metrics[f"{name}/recall_at_{k}"]["value"]
            for name in ("object_to_text", "text_to_object")
            for k in (1, 5, 10)
        ]
        return Scores(
            metrics=metrics,
            baselines=baselines,
            agg_metrics=sum(recalls) / len(recalls),
            extra={
                "k_test": matrices.k_test,
                "ptm_weight": self.ptm_weight,
                "ptm_weight_curve": curve,
                "ptm_weight_best": best_weight(curve),
                "gallery": len(positives),
                "text_field": getattr(dataset, "text_field", "caption"),
                "text": text_name(dataset),
                "baseline_pool": pool,
            },
            predictions=ranked_predictions(matrices, results),
            per_item=recall_per_item(matrices.instance_ids, results),
            baseline_items=baseline_items,
            claims=list(CLAIMED),
        )

    @property
    def ptm_weight(self) -> float:
        """Weight of PTM in the candidates' scores."""
        return float(self.options.ptm_weight)

    def directions(self) -> dict[str, Tensor]:
        """Return the score matrices [N,N] of each direction, re-ranked and by PTC alone."""
        matrices, weight = self.matrices, self.ptm_weight
        return {
            "object_to_text": matrices.object_to_text(weight),
            "text_to_object": matrices.text_to_object(weight),
            "object_to_text_ptc": matrices.contrast,
            "text_to_object_ptc": matrices.contrast.T,
        }

    def baselines(
        self, directions: list[str], positives: list[list[int]], dataset: Any
    ) -> tuple[dict[str, dict[str, Any]], dict[str, Any], dict[str, int] | None]:
        """Score chance and what finds texts without a model, of each direction's candidates.

        Returns:
            {baseline: {"<direction>/<metric>": value}}, the same per item, and the pool's size.
        """
        chance = chance_retrieval([len(p) for p in positives], len(positives))
        values = {"chance": {f"{name}/{m}": v for name in directions for m, v in chance.items()}}
        object_of = {
            str(e["instance_id"]): str(e.get("object_id", e["instance_id"]))
            for e in dataset.annotation
        }
        ids = self.matrices.instance_ids
        objects = [object_of[i] for i in ids]
        pool = pool_of(dataset, objects)
        field = str(getattr(dataset, "text_field", "caption"))
        found = retrieval_baselines(pool, objects, self.matrices.captions, field)
        scores, items = recall_scores(found, positives, ids)
        return values | scores, items, pool.size

    def add_directions(
        self, metrics: dict[str, Any], baselines: dict[str, dict[str, Any]], dataset: Any
    ) -> None:
        """Object to object (the same category is right) and image to object, when asked for."""
        asked = list(self.options.extra_directions)
        unknown = sorted(set(asked) - set(EXTRA_DIRECTIONS))
        if unknown:
            raise ConfigError(
                explain(
                    f"unknown direction.{nearest(unknown[0], EXTRA_DIRECTIONS)}",
                    where="run.extra_directions",
                    got=unknown,
                    expected=list(EXTRA_DIRECTIONS),
                )
            )
        embeds = self.matrices.object_embeds.numpy()
        if "object_to_object" in asked:
            category = {str(e["instance_id"]): e.get("category") for e in dataset.annotation}
            labels = [category[i] for i in self.matrices.instance_ids]
            add_direction(metrics, baselines, *object_to_object(embeds, labels))
        if "image_to_object" in asked:
            own = [[row] for row in range(len(embeds))]
            scores = streamed_retrieval_scores(self.image_embeds, embeds, own)
            add_direction(metrics, baselines, "image_to_object", scores, own)


def data_loader_ids(data_loader: Any) -> list[str]:
    """Ids of the items that this rank's loader yields."""
    annotation = data_loader.dataset.annotation
    return [annotation[index]["instance_id"] for index in data_loader.sampler]


def same_caption_groups(captions: list[str]) -> list[list[int]]:
    """For each caption the indices of all equal captions, itself included."""
    groups: dict[str, list[int]] = {}
    for index, caption in enumerate(captions):
        groups.setdefault(caption, []).append(index)
    return [groups[caption] for caption in captions]


def ptm_weight_curve(
    matrices: SimilarityMatrices, positives: list[list[int]]
) -> list[dict[str, float]]:
    """Return recall@1 both ways for each of `CURVE_WEIGHTS`, from the pairs that were matched."""
    curve = []
    for weight in CURVE_WEIGHTS:
        directions = {
            "object_to_text": matrices.object_to_text(weight),
            "text_to_object": matrices.text_to_object(weight),
        }
        recalls = {
            f"{name}/recall_at_1": retrieval_scores(scores.numpy(), positives).values["recall_at_1"]
            for name, scores in directions.items()
        }
        curve.append({"ptm_weight": weight, **recalls})
    return curve


def best_weight(curve: list[dict[str, float]]) -> float:
    """Return the weight of the highest mean recall@1 both ways; the smallest of equals."""
    return max(curve, key=lambda entry: sum(entry[metric] for metric in CLAIMED))["ptm_weight"]


def recall_per_item(
    ids: list[str], results: dict[str, RetrievalScores]
) -> dict[str, dict[str, float]]:
    """Return {"<direction>/recall_at_<k>": {id: 0 or 1}}."""
    return by_id(
        ids,
        {
            f"{name}/recall_at_{k}": (result.ranks <= k).astype(float)
            for name, result in results.items()
            for k in (1, 5, 10)
        },
    )


def ranked_predictions(
    matrices: SimilarityMatrices, results: dict[str, RetrievalScores]
) -> list[dict[str, Any]]:
    """Per object: its caption, both ranks, and the best captions and objects."""
    texts, objects = results["object_to_text"], results["text_to_object"]
    return [
        {
            "instance_id": instance_id,
            "caption": matrices.captions[row],
            "object_to_text_rank": int(texts.ranks[row]),
            "text_to_object_rank": int(objects.ranks[row]),
            "top_captions": [matrices.captions[i] for i in texts.top_indices[row]],
            "top_objects": [matrices.instance_ids[i] for i in objects.top_indices[row]],
        }
        for row, instance_id in enumerate(matrices.instance_ids)
    ]


def object_to_object(
    embeds: np.ndarray, labels: list[Any]
) -> tuple[str, RetrievalScores, list[list[int]]]:
    """Objects [N,Q,E] find the others of their label; objects alone in theirs do not ask."""
    members: dict[Any, list[int]] = {}
    for row, label in enumerate(labels):
        members.setdefault(label, []).append(row)
    rows = [k for k, label in enumerate(labels) if label is not None and len(members[label]) > 1]
    positives = [[other for other in members[labels[row]] if other != row] for row in rows]
    if not rows:
        raise ConfigError(
            explain(
                "no two objects share a category",
                where="run.extra_directions: object_to_object",
                fix="evaluate a split whose annotations have `category`",
            )
        )
    scores = streamed_retrieval_scores(embeds[rows], embeds, positives, own_index=rows)
    return "object_to_object", scores, positives


def add_direction(
    metrics: dict[str, Any],
    baselines: dict[str, dict[str, Any]],
    name: str,
    scores: RetrievalScores,
    positives: list[list[int]],
) -> None:
    """Add a direction's metrics and its chance under its name."""
    chance = chance_retrieval([len(own) for own in positives], scores.n_gallery)
    metrics |= {f"{name}/{metric}": entry for metric, entry in scores.metrics().items()}
    baselines["chance"] |= {f"{name}/{metric}": value for metric, value in chance.items()}


@torch.no_grad()
def embed_images(model: Any, data_loader: Any) -> dict[str, np.ndarray]:
    """Embed every object's image [E] in the space of the objects, on every rank.

    Batches bring `image_embeds` [B,E] (prepared), or `image` for a model with `embed_images`.
    """
    own: dict[str, np.ndarray] = {}
    for samples in data_loader:
        samples = move_to_device(samples, model.device)
        if "image_embeds" in samples:
            embeds = samples["image_embeds"]
        elif "image" in samples and "image" in model.modalities:
            embeds = model.embed(samples, "image")
        else:
            raise ConfigError(
                explain(
                    "there are no images to search with",
                    where="run.extra_directions: image_to_object",
                    got=sorted(samples),
                    expected="image_embeds, or image and a model that embeds images",
                )
            )
        rows = torch.as_tensor(embeds).float().cpu().numpy()
        own.update(zip(map(str, samples["instance_id"]), rows, strict=True))
    return {i: row for part in all_gather_object_list(own) for i, row in part.items()}
