"""Two-way retrieval: text -> object and object -> text, PTC first, PTM on the best candidates."""

from __future__ import annotations

from typing import Any

import torch

from lavis.common.registry import registry
from lavis.evaluation.baselines import chance_retrieval
from lavis.evaluation.retrieval import RetrievalScores, retrieval_scores
from lavis.models.point_blip_models.similarity import SimilarityMatrices
from lavis.tasks.point_task import PointTask, Scores

TOP_SHOWN = 10


@registry.register_task("point_retrieval")
class PointRetrievalTask(PointTask):
    """Rank all captions for each object and all objects for each caption.

    Equal captions are equally right: a query's positives are all items with its caption.
    """

    name = "point_retrieval"

    @torch.no_grad()
    def evaluation(self, model: Any, data_loader: Any, **kwargs: Any) -> list[dict[str, Any]]:
        """Score all pairs; every rank holds the same matrices, so one rank reports each item."""
        k_test = int(self.run_cfg.get("k_test", 128))
        self.matrices: SimilarityMatrices = model.compute_sim_matrix(data_loader, k_test)
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
        directions = {
            "object_to_text": matrices.object_to_text,
            "text_to_object": matrices.text_to_object,
            "object_to_text_ptc": matrices.contrast,
            "text_to_object_ptc": matrices.contrast.T,
        }
        results = {
            name: retrieval_scores(
                scores.numpy(), positives, query_ids=matrices.instance_ids, top_k=TOP_SHOWN
            )
            for name, scores in directions.items()
        }
        metrics = {
            f"{name}/{metric}": entry
            for name, result in results.items()
            for metric, entry in result.metrics().items()
        }
        chance = chance_retrieval([len(p) for p in positives], len(positives))
        baselines = {
            "chance": {f"{name}/{metric}": v for name in results for metric, v in chance.items()}
        }
        recalls = [
            metrics[f"{name}/recall_at_{k}"]["value"]
            for name in ("object_to_text", "text_to_object")
            for k in (1, 5, 10)
        ]
        return Scores(
            metrics=metrics,
            baselines=baselines,
            agg_metrics=sum(recalls) / len(recalls),
            extra={"k_test": int(self.run_cfg.get("k_test", 128)), "gallery": len(positives)},
            predictions=ranked_predictions(matrices, results),
        )


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
