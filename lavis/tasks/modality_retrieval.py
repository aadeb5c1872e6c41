"""Retrieval between all ordered pairs of the modalities that a JointEmbedder embeds.

An item's partner is right; where texts are on either side, so are the items of an equal text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import torch
from tqdm import tqdm

from lavis.common.dist_utils import is_main_process
from lavis.common.errors import ConfigError, explain
from lavis.common.registry import registry
from lavis.datasets.data_utils import move_to_device
from lavis.evaluation.baselines import chance_retrieval
from lavis.evaluation.retrieval import METRICS, RetrievalScores, streamed_retrieval_scores
from lavis.models.abilities import JointEmbedder
from lavis.tasks.data_needs import DataNeeds, records_of
from lavis.tasks.gallery import Gallery, Share, gather_gallery
from lavis.tasks.options import TaskOptions, task_option
from lavis.tasks.point_retrieval import AT, recall_per_item, same_caption_groups
from lavis.tasks.point_task import PointTask, Scores, text_name

# Fields of a batch of which a modality needs one; modalities that are not listed check their own.
FIELDS_OF = {
    "point": ("point_cloud",),
    "text": ("text_input",),
    "image": ("image", "image_embeds"),
    "joint": ("image", "image_embeds"),
    "audio": ("audio", "audio_embeds"),
}


@dataclass(frozen=True)
class ModalityRetrievalOptions(TaskOptions):
    """Options of retrieval between modalities."""

    modalities: tuple[str, ...] = task_option(
        (), "modalities that are paired; []: all of the model that the data set has"
    )


@registry.register_task("modality_retrieval")
class ModalityRetrievalTask(PointTask):
    """Rank the items of one modality for each item of another, for all ordered pairs."""

    name = "modality_retrieval"
    fewest = 2  # modalities
    options_class = ModalityRetrievalOptions
    metric_names = tuple(f"*_to_*/{metric}" for metric in METRICS)

    def needed_abilities(self) -> dict[type, str]:
        """Return JointEmbedder."""
        return {JointEmbedder: "run.task"}

    def check_data(self, dataset: Any, where: str) -> None:
        """Refuse data without the modalities of `run.modalities`."""
        asked = self.options.modalities
        if not asked or not records_of(dataset):
            return
        choose_modalities(asked, dataset.collater([dataset[0]]), asked, self.fewest)
        if "text" in asked:
            DataNeeds(("caption",)).check(dataset, where)

    def before_evaluation(self, model: Any, dataset: Any, **kwargs: Any) -> None:
        """Choose the modalities, the same on every rank."""
        self.check_inputs(model, dataset)

    def check_inputs(self, model: Any, dataset: Any) -> None:
        """Choose the modalities, or refuse those that are absent."""
        batch = dataset.collater([dataset[0]])
        asked = self.options.modalities
        self.modalities = choose_modalities(model.modalities, batch, asked, self.fewest)

    @torch.no_grad()
    def evaluation(self, model: Any, data_loader: Any, **kwargs: Any) -> list[dict[str, Any]]:
        """Embed this rank's share in every modality and gather the embeddings on rank 0."""
        share = Share()
        for samples in tqdm(data_loader, desc=self.name, disable=not is_main_process()):
            samples = move_to_device(samples, model.device)
            share.add(samples, {name: model.embed(samples, name) for name in self.modalities})
        records = [{"instance_id": name} for name in share.ids]
        gallery = gather_gallery(share, self.modalities)
        if gallery is not None:
            self.gallery = gallery
        return records

    def score(self, records: list[dict[str, Any]], dataset: Any, model: Any) -> Scores:
        """Recall@1/5/10, ranks and mAP of every ordered pair, beside chance."""
        results, chance = rank_modalities(self.gallery)
        recalls = [result.values[f"recall_at_{k}"] for result in results.values() for k in AT]
        return Scores(
            metrics={
                f"{name}/{metric}": entry
                for name, result in results.items()
                for metric, entry in result.metrics().items()
            },
            baselines={"chance": chance},
            agg_metrics=sum(recalls) / len(recalls),
            extra={
                "modalities": list(self.gallery.embeds),
                "gallery": len(self.gallery.ids),
                "text": text_name(dataset),
            },
            predictions=[
                {"instance_id": i} | {f"{n}_rank": int(r.ranks[row]) for n, r in results.items()}
                for row, i in enumerate(self.gallery.ids)
            ],
            per_item=recall_per_item(self.gallery.ids, results),
        )


def has_fields(name: str, batch: Mapping[str, Any]) -> bool:
    """Return whether a batch has what a modality needs."""
    return name not in FIELDS_OF or any(key in batch for key in FIELDS_OF[name])


def check_modalities(
    known: Sequence[str], batch: Mapping[str, Any], chosen: Sequence[str], where: str
) -> None:
    """Refuse modalities that a model or a data set lacks.

    Args:
        known: those of the model.
        batch: of the data set.
        chosen: those to embed.
        where: the key that chose them.

    Raises:
        ConfigError: names the modality and who lacks it.
    """
    for name in chosen:
        if name not in known or not has_fields(name, batch):
            raise ConfigError(
                explain(
                    f"the {'data set' if name in known else 'model'} has no {name!r}",
                    where=where,
                    got=list(chosen),
                    expected=f"of {list(known)} those with fields in a batch of {sorted(batch)}",
                )
            )


def choose_modalities(
    known: Sequence[str], batch: Mapping[str, Any], asked: Sequence[str], fewest: int = 2
) -> list[str]:
    """Return the modalities to embed.

    Args:
        known: those of the model.
        batch: of the data set.
        asked: `run.modalities`; () takes all that the batch has the fields of.
        fewest: number of different ones.

    Raises:
        ConfigError: a modality that the model or the batch lacks, or too few.
    """
    chosen = list(asked) or [name for name in known if has_fields(name, batch)]
    check_modalities(known, batch, chosen, "run.modalities")
    if len(set(chosen)) < fewest:
        what, expected = "too few modalities", f"{fewest} or more"
        raise ConfigError(explain(what, where="run.modalities", got=chosen, expected=expected))
    return chosen


def rank_modalities(gallery: Gallery) -> tuple[dict[str, RetrievalScores], dict[str, float]]:
    """Score all ordered pairs: {"<query>_to_<gallery>": scores} and chance by metric."""
    equal_texts = same_caption_groups(gallery.texts)
    alone = [[row] for row in range(len(gallery.ids))]
    embeds = {name: rows.float().numpy() for name, rows in gallery.embeds.items()}
    results: dict[str, RetrievalScores] = {}
    chance: dict[str, float] = {}
    for query, target in permutations(embeds, 2):
        name, right = f"{query}_to_{target}", equal_texts if "text" in (query, target) else alone
        results[name] = streamed_retrieval_scores(
            embeds[query], embeds[target], right, query_ids=gallery.ids
        )
        expected = chance_retrieval([len(own) for own in right], len(right))
        chance |= {f"{name}/{metric}": value for metric, value in expected.items()}
    return results, chance
