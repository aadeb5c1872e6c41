"""Embedding arithmetic: an object plus a sound finds the object that is like both.

Point-Bind (arXiv 2309.00615) adds the unit embeddings of a cloud and a sound and shows what the sum
retrieves. Here it is measured: a query is a cloud of one category and a sound of another object;
right are the objects of the cloud's category and the sound's class, e.g. a figure and a bark find
the figure of a dog. The sum is compared with the cloud alone and the sound alone, query by query.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lavis.common.errors import EvaluationError
from lavis.common.registry import registry
from lavis.evaluation.baselines import chance_retrieval
from lavis.evaluation.intervals import mean_metric
from lavis.evaluation.retrieval import RetrievalScores, streamed_retrieval_scores
from lavis.models.contrastive.joint_queries import mix_embeddings
from lavis.tasks.data_needs import DataNeeds
from lavis.tasks.gallery import Gallery
from lavis.tasks.modality_retrieval import (
    ModalityRetrievalOptions,
    ModalityRetrievalTask,
    choose_modalities,
)
from lavis.tasks.options import task_option
from lavis.tasks.point_task import Scores

RECALL_AT = (1, 5, 10)


@dataclass(frozen=True)
class EmbeddingArithmeticOptions(ModalityRetrievalOptions):
    """Options of embedding arithmetic."""

    sounds: str = task_option(
        "all",
        "ambiguous: those that objects of several categories make",
        choices=("all", "ambiguous"),
    )
    searched: str = task_option("point", "modality of the gallery", choices=("point", "image"))
    point_share: float = task_option(
        0.5, "weight of the cloud; the sound has the rest", low=0, high=1
    )


@dataclass(frozen=True)
class Query:
    """A cloud and a sound.

    Attributes:
        name: of the query.
        point, sound: rows of the items that give them.
        right: rows of the right items.
    """

    name: str
    point: int
    sound: int
    right: tuple[int, ...]


@registry.register_task("embedding_arithmetic")
class EmbeddingArithmeticTask(ModalityRetrievalTask):
    """Search with the sum of a cloud and a sound, and with each alone."""

    name = "embedding_arithmetic"
    options_class = EmbeddingArithmeticOptions
    metric_names = ("mean_reciprocal_rank", *(f"recall_at_{k}" for k in RECALL_AT))

    def check_data(self, dataset: Any, where: str) -> None:
        """Refuse data without categories."""
        super().check_data(dataset, where)
        DataNeeds(("category",)).check(dataset, where)

    def check_inputs(self, model: Any, dataset: Any) -> None:
        """Embed clouds, sounds, and what is searched."""
        modalities = tuple(dict.fromkeys(("point", "audio", self.options.searched)))
        batch = dataset.collater([dataset[0]])
        self.modalities = choose_modalities(model.modalities, batch, modalities)

    def score(self, records: list[dict[str, Any]], dataset: Any, model: Any) -> Scores:
        """Reciprocal rank and recall of the sum, beside each part alone, paired by query."""
        category = {r["instance_id"]: str(r["category"]).lower() for r in dataset.annotation}
        categories = [category[i] for i in self.gallery.ids]
        queries = make_queries(categories, self.gallery.sounds, self.options.sounds == "ambiguous")
        if not queries:
            what = "no cloud and sound have an object of both their classes to find"
            raise EvaluationError(what, where="embedding_arithmetic", got=len(categories))
        ways = search_ways(self.gallery, queries, self.options.searched, self.options.point_share)
        items = {way: per_query(queries, result) for way, result in ways.items()}
        values = {
            way: {m: float(np.mean(list(own.values()))) for m, own in found.items()}
            for way, found in items.items()
        }
        mixed = items.pop("mixed")
        chance = chance_retrieval([len(q.right) for q in queries], len(categories) - 1)
        baselines = {way: values[way] for way in items}
        return Scores(
            metrics={m: mean_metric([*own.values()]) for m, own in mixed.items()},
            baselines={
                **baselines,
                "chance": {f"recall_at_{k}": chance[f"recall_at_{k}"] for k in RECALL_AT},
            },
            agg_metrics=values["mixed"]["mean_reciprocal_rank"],
            extra={
                "queries": len(queries),
                "pairs_of_classes": len({q.name.split("+", 1)[1] for q in queries}),
                "gallery": len(categories),
                "searched": self.options.searched,
                "sounds": self.options.sounds,
            },
            predictions=[
                {
                    "instance_id": q.name,
                    **{f"{way}_rank": int(r.ranks[n]) for way, r in ways.items()},
                }
                for n, q in enumerate(queries)
            ],
            per_item=mixed,
            baseline_items=items,
            claims=["mean_reciprocal_rank"],
        )


def make_queries(
    categories: Sequence[str], sounds: Sequence[str], ambiguous: bool = False
) -> list[Query]:
    """Pair every cloud with every class of sounds that an object of its category has.

    A cloud of the sound's own class is no query, as it would find the right objects alone. The
    sound is that of the first item of its class.

    Args:
        categories: of the items.
        sounds: their classes of sounds, "" without one.
        ambiguous: leave out sounds of one category, which name the right object alone.
    """
    first: dict[str, int] = {}
    right: dict[tuple[str, str], list[int]] = {}
    for row, (category, sound) in enumerate(zip(categories, sounds)):
        if sound:
            first.setdefault(sound, row)
            right.setdefault((category, sound), []).append(row)
    kinds = Counter(sound for _, sound in right)
    return [
        Query(f"{row}+{category}+{sound}", row, first[sound], tuple(rows))
        for (category, sound), rows in right.items()
        for row in range(len(categories))
        if categories[row] == category and sounds[row] != sound
        if not ambiguous or kinds[sound] > 1
    ]


def search_ways(
    gallery: Gallery, queries: Sequence[Query], searched: str, point_share: float
) -> dict[str, RetrievalScores]:
    """Rank the gallery for every query by the sum, by the cloud and by the sound.

    The item that gives the cloud is left out of its ranking.
    """
    points = _unit(gallery.embeds["point"])[[q.point for q in queries]]
    sounds = _unit(gallery.embeds["audio"])[[q.sound for q in queries]]
    mixed = mix_embeddings([points, sounds], [point_share, 1 - point_share])
    ways = {"mixed": mixed, "point_alone": points, "audio_alone": sounds}
    target = gallery.embeds[searched].float().numpy()
    right, own = [q.right for q in queries], [q.point for q in queries]
    return {
        way: streamed_retrieval_scores(rows.numpy(), target, right, own_index=own)
        for way, rows in ways.items()
    }


def per_query(queries: Sequence[Query], result: RetrievalScores) -> dict[str, dict[str, float]]:
    """Return {metric: {query: value}} of a ranking."""
    names, ranks = [q.name for q in queries], result.ranks
    metrics = {"mean_reciprocal_rank": 1 / ranks}
    metrics |= {f"recall_at_{k}": (ranks <= k).astype(float) for k in RECALL_AT}
    return {name: dict(zip(names, map(float, values))) for name, values in metrics.items()}


def _unit(embeds: Tensor) -> Tensor:
    """Return [N,E]; of several embeddings an item the mean."""
    rows = embeds.float()
    return torch.nn.functional.normalize(rows if rows.ndim == 2 else rows.mean(1), dim=-1)
