"""Retrieval between all ordered pairs of the modalities that a JointEmbedder embeds.

An item's partner is right; where texts are on either side, so are the items of an equal text, and
where sounds are, the items of an equal class of sounds. A pair of modalities is scored on the items
that have both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import torch
from tqdm import tqdm

from lavis.common.dist_utils import is_main_process
from lavis.common.errors import ConfigError, DataError, EvaluationError
from lavis.common.registry import registry
from lavis.datasets.data_utils import move_to_device
from lavis.datasets.samples import select
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
    "audio": ("audio", "audio_embeds", "audio_class"),  # every object of data with sounds has it
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
    needs = (JointEmbedder,)
    fewest = 2  # modalities
    options_class = ModalityRetrievalOptions
    metric_names = tuple(f"*_to_*/{metric}" for metric in METRICS)

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
        share = Share(len(data_loader))
        for samples in tqdm(data_loader, desc=self.name, disable=not is_main_process()):
            samples = move_to_device(samples, model.device)
            share.add(samples, embed_present(model, samples, self.modalities))
        records = [{"instance_id": name} for name in share.ids]
        gallery = gather_gallery(share, self.modalities)
        if gallery is not None:
            self.gallery = gallery
        return records

    def score(self, records: list[dict[str, Any]], dataset: Any, model: Any) -> Scores:
        """Recall@1/5/10, ranks and mAP of every ordered pair, beside chance."""
        pairs = rank_modalities(self.gallery)
        recalls = [p.scores.values[f"recall_at_{k}"] for p in pairs.values() for k in AT]
        return Scores(
            metrics={
                f"{name}/{metric}": entry
                for name, pair in pairs.items()
                for metric, entry in pair.scores.metrics().items()
            },
            baselines={"chance": {k: v for pair in pairs.values() for k, v in pair.chance.items()}},
            agg_metrics=sum(recalls) / len(recalls),
            extra={
                "modalities": list(self.gallery.embeds),
                "gallery": len(self.gallery.ids),
                "items": {name: len(pair.ids) for name, pair in pairs.items()},
                "text": text_name(dataset),
            },
            predictions=rank_predictions(self.gallery.ids, pairs),
            per_item={
                key: values
                for name, pair in pairs.items()
                for key, values in recall_per_item(pair.ids, {name: pair.scores}).items()
            },
        )


def embed_present(
    model: Any, samples: dict[str, Any], modalities: Sequence[str]
) -> dict[str, torch.Tensor]:
    """Embed a batch in several modalities; rows of items without one are NaN.

    Raises:
        DataError: no item of the batch has any of the modalities.
    """
    embeds: dict[str, torch.Tensor] = {}
    incomplete = {}
    for name in modalities:
        present = present_rows(name, samples)
        if present is None or bool(present.all()):
            embeds[name] = model.embed(samples, name)
        else:
            incomplete[name] = present
    for name, present in incomplete.items():
        part = model.embed(select(samples, present), name) if bool(present.any()) else None
        like = next(iter(embeds.values()), part) if part is None else part
        if like is None:
            what, got = "items have none of the modalities", samples["instance_id"][:5]
            raise DataError(what, where=", ".join(modalities), got=got)
        shape = (len(present), *(like.shape[1:] if part is not None else like.shape[-1:]))
        embeds[name] = like.new_full(shape, torch.nan)
        if part is not None:
            embeds[name][present] = part
    return {name: embeds[name] for name in modalities}


def present_rows(name: str, samples: Mapping[str, Any]) -> torch.Tensor | None:
    """Return bool [B], which items have a modality; None: all, or there is no mask."""
    for key in FIELDS_OF.get(name, ()):
        mask = samples.get(f"{key}_mask")
        if key in samples and mask is not None:
            return mask.flatten(1).any(1) if mask.ndim > 1 else mask.bool()
    if name == "audio" and not {"audio", "audio_embeds"} & set(samples):
        return torch.zeros(len(samples["instance_id"]), dtype=torch.bool)
    return None


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
                f"the {'data set' if name in known else 'model'} has no {name!r}",
                where=where,
                got=list(chosen),
                expected=f"of {list(known)} those with fields in a batch of {sorted(batch)}",
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
        raise ConfigError(what, where="run.modalities", got=chosen, expected=expected)
    return chosen


@dataclass(frozen=True)
class RankedPair:
    """One modality ranked for another.

    Attributes:
        ids: of the items that have both, in the order of the scores.
        scores: of the ranking.
        chance: by metric, with the name of the pair.
    """

    ids: list[str]
    scores: RetrievalScores
    chance: dict[str, float]


def rank_modalities(gallery: Gallery) -> dict[str, RankedPair]:
    """Score all ordered pairs: {"<query>_to_<gallery>": result}; an item has to have both.

    Raises:
        EvaluationError: no pair has an item.
    """
    embeds = {name: rows.float() for name, rows in gallery.embeds.items()}
    present = {name: rows.flatten(1).isfinite().all(1) for name, rows in embeds.items()}
    pairs: dict[str, RankedPair] = {}
    for query, target in permutations(embeds, 2):
        rows = (present[query] & present[target]).nonzero().flatten()
        if not len(rows):
            continue
        name, ids = f"{query}_to_{target}", [gallery.ids[row] for row in rows.tolist()]
        right = right_items(gallery, rows.tolist(), {query, target})
        queries, objects = (embeds[modality][rows].numpy() for modality in (query, target))
        scores = streamed_retrieval_scores(queries, objects, right, query_ids=ids)
        expected = chance_retrieval([len(own) for own in right], len(right))
        chance = {f"{name}/{metric}": value for metric, value in expected.items()}
        pairs[name] = RankedPair(ids, scores, chance)
    if not pairs:
        what = "no item has two modalities"
        raise EvaluationError(what, where="run.modalities", got=sorted(embeds))
    return pairs


def right_items(gallery: Gallery, rows: Sequence[int], pair: set[str]) -> list[list[int]]:
    """Return for each of some items the places of the right ones among them."""
    if "audio" in pair and all(gallery.sounds[row] for row in rows):
        return same_caption_groups([gallery.sounds[row] for row in rows])
    if "text" in pair:
        return same_caption_groups([gallery.texts[row] for row in rows])
    return [[place] for place in range(len(rows))]


def rank_predictions(ids: Sequence[str], pairs: Mapping[str, RankedPair]) -> list[dict[str, Any]]:
    """Return of each item its rank in every pair that it has both modalities of."""
    predictions: dict[str, dict[str, Any]] = {i: {"instance_id": i} for i in ids}
    for name, pair in pairs.items():
        for own, rank in zip(pair.ids, pair.scores.ranks):
            predictions[own][f"{name}_rank"] = int(rank)
    return list(predictions.values())
