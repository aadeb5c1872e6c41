"""Two-way retrieval: text -> object and object -> text, by the similarity of any JointEmbedder.

A Reranker (PointBLIP's PTM) scores the best candidates again. Nothing is N x N: rank 0 holds the
embeddings and scores blocks of rows; each rank matches the candidates of its own objects.

`run.ptm_weight` mixes PTM into the scores of the candidates. `extra["ptm_weight_curve"]` holds
recall@1 for several weights: choose the weight on val, then set it for the test split.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from lavis.common.dist_utils import is_main_process
from lavis.common.registry import registry
from lavis.datasets.data_utils import move_to_device
from lavis.datasets.samples import group_of
from lavis.evaluation.baselines import chance_retrieval
from lavis.evaluation.baselines.expected_recalls import recall_scores
from lavis.evaluation.baselines.pool import pool_of
from lavis.evaluation.baselines.retrieval import retrieval_baselines
from lavis.evaluation.retrieval import (
    METRICS,
    BlockScorer,
    RetrievalScores,
    streamed_retrieval_scores,
)
from lavis.models.abilities import JointEmbedder, Reranker, can
from lavis.tasks.data_needs import DataNeeds, records_of
from lavis.tasks.extra_directions import (
    add_direction,
    check_images,
    embed_images,
    object_to_object,
    same_label,
)
from lavis.tasks.gallery import Gallery, Share, gather_gallery
from lavis.tasks.neighbour_texts import NeighbourTexts
from lavis.tasks.options import TaskOptions, task_option
from lavis.tasks.pair_scores import DIRECTIONS, PairScores
from lavis.tasks.point_task import PointTask, Scores, by_id, text_name
from lavis.tasks.reranking import TokenStore, match_candidates

TOP_SHOWN = 10
AT = (1, 5, 10)
K_TEST = 128
CURVE_WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
# Log-odds of a PTM at the start of its training are noise of 0.1 to 0.2, PTC logits of the best
# candidates differ by 0.5: 0.2 costs little then. A trained PTM's log-odds still decide.
DEFAULT_PTM_WEIGHT = 0.2
CLAIMED = ("object_to_text/recall_at_1", "text_to_object/recall_at_1")
EXTRA_DIRECTIONS = ("object_to_object", "image_to_object")


@dataclass(frozen=True)
class RetrievalOptions(TaskOptions):
    """Options of retrieval."""

    k_test: int | None = task_option(
        None, f"candidates re-ranked by matching; 0: none, null: {K_TEST} of a Reranker", low=0
    )
    ptm_weight: float = task_option(
        DEFAULT_PTM_WEIGHT, "weight of matching in re-ranked scores", low=0
    )
    extra_directions: tuple[str, ...] = task_option(
        (), "directions beside object_to_text and text_to_object", choices=EXTRA_DIRECTIONS
    )
    neighbour_texts: int = task_option(
        0, "nearest training objects whose texts count for an object; 0: none", low=0
    )
    neighbour_weight: float = task_option(0.3, "of their texts in the similarity", low=0, high=1)
    neighbour_temperature: float = task_option(0.1, "of the softmax of their cosines", low=1e-3)


@registry.register_task("point_retrieval")
class PointRetrievalTask(PointTask):
    """Rank all captions for each object and all objects for each caption.

    Equal captions are equally right: a query's positives are all items with its caption.
    """

    name = "point_retrieval"
    needs = (JointEmbedder,)
    options_class = RetrievalOptions
    data_needs = DataNeeds(("caption",))
    metric_names = tuple(f"{name}/{metric}" for name in DIRECTIONS for metric in METRICS)
    neighbours: NeighbourTexts | None = None  # on rank 0, of the split being evaluated

    def needed_abilities(self) -> dict[type, str]:
        """Return JointEmbedder, and Reranker where `k_test` is set."""
        needed = super().needed_abilities()
        if self.options.k_test:
            needed[Reranker] = "run.k_test"
        return needed

    def check_data(self, dataset: Any, where: str) -> None:
        """Refuse records without captions, or without what `run.extra_directions` needs."""
        super().check_data(dataset, where)
        records, asked = records_of(dataset), self.options.extra_directions
        if records and "object_to_object" in asked:
            same_label([record.get("category") for record in records])
        if records and "image_to_object" in asked:
            check_images(dataset.collater([dataset[0]]))

    def possible_metrics(self, model: Any) -> tuple[str, ...]:
        """Return the metrics of every direction, of a Reranker also by contrast alone."""
        names = [f"{name}_ptc" for name in DIRECTIONS] if can(model, Reranker) else []
        names += self.options.extra_directions
        return self.metric_names + tuple(f"{name}/{m}" for name in names for m in METRICS)

    def before_evaluation(self, model: Any, dataset: Any, **kwargs: Any) -> None:
        """Embed the training objects, where their texts are asked for."""
        if self.options.neighbour_texts:
            batch_size = int(self.run_cfg.batch_size_eval)
            self.neighbours = NeighbourTexts.read(model, dataset, batch_size)
            self.groups = {str(r["instance_id"]): group_of(r) for r in dataset.annotation}

    @torch.no_grad()
    def evaluation(self, model: Any, data_loader: Any, **kwargs: Any) -> list[dict[str, Any]]:
        """Embed this rank's share, gather the embeddings on rank 0, and match the candidates."""
        given = self.options.k_test
        k_test = (K_TEST if given is None else given) if can(model, Reranker) else 0
        store = TokenStore(model, data_loader)
        share = embed_share(model, data_loader, store if k_test else None)
        records = [
            {"instance_id": i, "caption": text}
            for i, text in zip(share.ids, share.texts, strict=True)
        ]
        gallery = gather_gallery(share, ("point", "text"))
        if gallery is not None and self.neighbours is not None:
            gallery.embeds["point"] = self.with_neighbours(self.neighbours, gallery)
        pairs = None if gallery is None else pair_scores(model, gallery)
        if k_test:
            match_candidates(pairs, store, k_test)
        if pairs is not None:
            self.pairs = pairs
        if "image_to_object" in self.options.extra_directions:
            self.images = embed_images(model, data_loader)
        return records

    def with_neighbours(self, neighbours: NeighbourTexts, gallery: Gallery) -> Tensor:
        """Return the embeddings of objects with the texts of their neighbours."""
        options, groups = self.options, [self.groups[name] for name in gallery.ids]
        return neighbours.mixed(
            gallery.embeds["point"].float(),
            groups,
            options.neighbour_texts,
            options.neighbour_weight,
            options.neighbour_temperature,
        )

    def score(self, records: list[dict[str, Any]], dataset: Any, model: Any) -> Scores:
        """Recall@1/5/10, ranks and mAP both ways, re-ranked and by contrast alone."""
        pairs = self.pairs
        positives = same_caption_groups(pairs.texts)
        results, curve = rank_pairs(pairs, positives, float(self.options.ptm_weight))
        if not can(model, Reranker):
            results = {name: results[name] for name in DIRECTIONS}
        metrics = {
            f"{name}/{metric}": entry
            for name, result in results.items()
            for metric, entry in result.metrics().items()
        }
        baselines, baseline_items, pool = self.baselines(list(results), positives, dataset)
        self.add_directions(metrics, baselines, dataset)
        recalls = [metrics[f"{name}/recall_at_{k}"]["value"] for name in DIRECTIONS for k in AT]
        return Scores(
            metrics=metrics,
            baselines=baselines,
            agg_metrics=sum(recalls) / len(recalls),
            extra={
                **(self.reranking_record(curve) if can(model, Reranker) else {}),
                "gallery": len(positives),
                "text_field": getattr(dataset, "text_field", "caption"),
                "text": text_name(dataset),
                **self.neighbour_record(),
                "baseline_pool": pool,
            },
            predictions=ranked_predictions(pairs, results),
            per_item=recall_per_item(pairs.ids, results),
            baseline_items=baseline_items,
            claims=list(CLAIMED),
        )

    def neighbour_record(self) -> dict[str, Any]:
        """Return the entries of the metrics file on neighbours' texts."""
        names = ("neighbour_texts", "neighbour_weight", "neighbour_temperature")
        asked = self.options.neighbour_texts
        return {name: getattr(self.options, name) for name in names} if asked else {}

    def reranking_record(self, curve: list[dict[str, float]]) -> dict[str, Any]:
        """Return the entries of the metrics file on re-ranking."""
        return {
            "k_test": self.pairs.k_test,
            "ptm_weight": float(self.options.ptm_weight),
            "ptm_weight_curve": curve,
            "ptm_weight_best": best_weight(curve),
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
        ids = self.pairs.ids
        objects = [object_of[i] for i in ids]
        pool = pool_of(dataset, objects)
        field = str(getattr(dataset, "text_field", "caption"))
        found = retrieval_baselines(pool, objects, self.pairs.texts, field)
        scores, items = recall_scores(found, positives, ids)
        return values | scores, items, pool.size

    def add_directions(
        self, metrics: dict[str, Any], baselines: dict[str, dict[str, Any]], dataset: Any
    ) -> None:
        """Add object to object (same category is right) and image to object, if requested."""
        asked = self.options.extra_directions
        embeds = self.pairs.object_embeds.numpy()
        if "object_to_object" in asked:
            category = {str(e["instance_id"]): e.get("category") for e in dataset.annotation}
            labels = [category[i] for i in self.pairs.ids]
            add_direction(metrics, baselines, *object_to_object(embeds, labels))
        if "image_to_object" in asked:
            own = [[row] for row in range(len(embeds))]
            images = np.stack([self.images[i] for i in self.pairs.ids])
            scores = streamed_retrieval_scores(images, embeds, own)
            add_direction(metrics, baselines, "image_to_object", scores, own)


def same_caption_groups(captions: list[str]) -> list[list[int]]:
    """For each caption the indices of all equal captions, itself included."""
    groups: dict[str, list[int]] = {}
    for index, caption in enumerate(captions):
        groups.setdefault(caption, []).append(index)
    return [groups[caption] for caption in captions]


def embed_share(model: Any, data_loader: Any, store: TokenStore | None) -> Share:
    """Embed this rank's objects and texts, and keep the tokens in the store, if any."""
    share = Share(len(data_loader))
    for samples in tqdm(data_loader, desc="embed objects", disable=not is_main_process()):
        samples = move_to_device(samples, model.device)
        if store is None:
            points = model.embed(samples, "point")
        else:
            points, tokens = model.embed_for_matching(samples)
            store.add(list(map(str, samples["instance_id"])), tokens)
        share.add(samples, {"point": points, "text": model.embed_texts(samples["text_input"])})
    return share


def pair_scores(model: Any, gallery: Gallery) -> PairScores:
    """Return the contrast of a gallery: logits of a Reranker, else cosines."""
    temperature = model.temperature().cpu() if can(model, Reranker) else torch.tensor(1.0)
    embeds = gallery.embeds
    return PairScores(
        gallery.ids, gallery.texts, embeds["point"], embeds["text"], temperature, model.device
    )


def rank_pairs(
    pairs: PairScores, positives: list[list[int]], ptm_weight: float
) -> tuple[dict[str, RetrievalScores], list[dict[str, float]]]:
    """Rank both directions, re-ranked and by contrast alone, each block of rows once.

    Returns:
        {direction or "<direction>_ptc": scores}, and recall@1 both ways for `CURVE_WEIGHTS`.
    """
    names = [*DIRECTIONS, *(f"{name}_ptc" for name in DIRECTIONS)]
    size = len(pairs.ids)
    scorers = {name: BlockScorer(positives, size, pairs.ids, TOP_SHOWN) for name in names}
    curves = {(w, name): BlockScorer(positives, size) for w in CURVE_WEIGHTS for name in DIRECTIONS}
    for name in DIRECTIONS:
        for block, contrast in pairs.rows(name):
            scorers[f"{name}_ptc"].add(contrast.numpy())
            scorers[name].add(pairs.reranked(name, block, contrast, ptm_weight).numpy())
            for weight in CURVE_WEIGHTS if pairs.candidates else ():
                scores = pairs.reranked(name, block, contrast, weight)
                curves[weight, name].add(scores.numpy())
    results = {name: scorer.result() for name, scorer in scorers.items()}
    return results, [
        {"ptm_weight": weight}
        | {
            f"{name}/recall_at_1": curves[weight, name].result().values["recall_at_1"]
            if pairs.candidates
            else results[name].values["recall_at_1"]
            for name in DIRECTIONS
        }
        for weight in CURVE_WEIGHTS
    ]


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
    pairs: PairScores, results: dict[str, RetrievalScores]
) -> list[dict[str, Any]]:
    """Per object: its caption, both ranks, and the best captions and objects."""
    texts, objects = results["object_to_text"], results["text_to_object"]
    return [
        {
            "instance_id": instance_id,
            "caption": pairs.texts[row],
            "object_to_text_rank": int(texts.ranks[row]),
            "text_to_object_rank": int(objects.ranks[row]),
            "top_captions": [pairs.texts[i] for i in texts.top_indices[row]],
            "top_objects": [pairs.ids[i] for i in objects.top_indices[row]],
        }
        for row, instance_id in enumerate(pairs.ids)
    ]
