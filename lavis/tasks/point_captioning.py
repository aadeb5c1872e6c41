"""Captioning: generate a caption for each object and score it against the human one.

Baselines are those of evaluation/baselines/captions.py, the caption of the nearest training object
in the model's own embedding (`nearest_in_own_embedding`), and of a model that retrieves texts the
first of them (`first_retrieved_text`). All copy from the full training split.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np

from lavis.common.errors import ConfigError
from lavis.common.registry import registry
from lavis.datasets.datasets.record_texts import all_texts
from lavis.evaluation.baselines import nearest_neighbour_captions
from lavis.evaluation.baselines.captions import caption_baselines, training_text
from lavis.evaluation.baselines.pool import Pool, pool_of
from lavis.evaluation.captioning import (
    BLEU_NAMES,
    FAST,
    JAVA_METRICS,
    LIBRARY,
    SCORERS,
    TOKENIZERS,
    CaptionScores,
    caption_scores,
)
from lavis.evaluation.tokenization import TOKENIZER_NAME
from lavis.models.abilities import Captioner, Embedder, TextRetriever, can
from lavis.tasks.data_needs import DataNeeds
from lavis.tasks.embedding import embed_objects, object_embeddings
from lavis.tasks.options import WritingOptions, task_option
from lavis.tasks.point_task import PointTask, Scores, by_id, text_name

CLAIMED = ("cider", "rouge_l")
GENERATED, RETRIEVED = "generated", "retrieved"
DIVERSITY = ("distinct_1", "distinct_2", "distinct_captions", "vocabulary", "mean_length")


@dataclass(frozen=True)
class CaptioningOptions(WritingOptions):
    """Options of captioning."""

    caption_tokenizer: str = task_option(TOKENIZER_NAME, "words of captions", choices=TOKENIZERS)
    caption_scorer: str = task_option(
        FAST, "implementation of BLEU, ROUGE-L and CIDEr", choices=SCORERS
    )
    own_embedding_baseline: bool = task_option(
        True, "captions of the nearest training object in the model's own embedding"
    )
    java_metrics: bool = task_option(False, "METEOR and SPICE, where Java and their files are")
    caption_source: str = task_option(
        GENERATED, "write, or take the first retrieved text", choices=(GENERATED, RETRIEVED)
    )

    def decoding(self) -> dict[str, Any]:
        """Return what captions come from: arguments of `generate`, or the source."""
        written = self.caption_source == GENERATED
        return super().decoding() if written else {"caption_source": self.caption_source}


@registry.register_task("point_captioning")
@registry.register_task("captioning")
class PointCaptioningTask(PointTask):
    """Generate captions; result entries are {"image_id", "2d_caption", "caption"}."""

    name = "point_captioning"
    needs = (Captioner,)
    id_key = "image_id"
    options_class = CaptioningOptions
    data_needs = DataNeeds(("caption",))
    metric_names = (*BLEU_NAMES, "rouge_l", "cider", *DIVERSITY)

    def possible_metrics(self, model: Any) -> tuple[str, ...]:
        """Return the scores, with METEOR and SPICE if requested."""
        return self.metric_names + (JAVA_METRICS if self.options.java_metrics else ())

    def needed_abilities(self) -> dict[type, str]:
        """Return Captioner, and Embedder for the baseline of the model's own embedding."""
        needed = super().needed_abilities()
        if self.options.own_embedding_baseline:
            needed[Embedder] = "run.own_embedding_baseline"
        if self.options.caption_source == RETRIEVED:
            needed[TextRetriever] = "run.caption_source"
        return needed

    def valid_step(self, model: Any, samples: dict[str, Any]) -> list[dict[str, Any]]:
        """Caption a batch."""
        retrieved = model.retrieved_captions(samples) if can(model, TextRetriever) else []
        if self.options.caption_source == RETRIEVED:
            captions = first_texts(retrieved)
        else:
            captions = model.generate(samples, **self.options.decoding())
        records = [
            {"image_id": str(i), "2d_caption": reference, "caption": caption}
            for i, reference, caption in zip(
                samples["instance_id"], samples["caption"], captions, strict=True
            )
        ]
        for record, texts in zip(records, retrieved):
            record |= {"retrieved": texts} if texts else {}
        if self.train_captions:
            embeds = object_embeddings(model, samples).float().cpu().numpy()
            for record, embed in zip(records, embeds, strict=True):
                record["embedding"] = embed
        return records

    def before_evaluation(self, model: Any, dataset: Any, **kwargs: Any) -> None:
        """Embed all training objects for the nearest-neighbour captioner; ranks share the work.

        A data set without training objects has no baselines. Splits under a
        control or corruption keep the baselines of the split itself, and need no embeddings.
        """
        self.train_captions: list[str] = []
        self.train_embeds: np.ndarray | None = None
        if self.options.own_embedding_baseline and not altered(dataset):
            full = full_reference(dataset)
            self.train_captions = [entry["caption"] for entry in full.annotation]
            if self.train_captions:
                self.train_embeds = embed_objects(model, full, int(self.run_cfg.batch_size_eval))

    def score(self, records: list[dict[str, Any]], dataset: Any, model: Any) -> Scores:
        """Return BLEU, ROUGE-L, CIDEr and diversity, with those of copying baselines."""
        references = references_of(records, dataset)
        for record in records:
            several = references[record["image_id"]]
            record |= {"references": several} if len(several) > 1 else {}
        scores = self.scored({r["image_id"]: r["caption"] for r in records}, references)
        object_of = object_ids_of(dataset)
        pool = pool_of(dataset, [object_of.get(i, i) for i in references])
        found = self.baseline_captions(pool, list(references), object_of, dataset)
        if self.train_embeds is not None:
            embeds = np.stack([record.pop("embedding") for record in records])
            copied = nearest_neighbour_captions(self.train_embeds, self.train_captions, embeds)
            found["nearest_in_own_embedding"] = dict(zip(references, copied, strict=True))
        if not altered(dataset) and records and "retrieved" in records[0]:
            found["first_retrieved_text"] = {r["image_id"]: r["retrieved"][0] for r in records}
        baselines = {name: self.scored(given, references) for name, given in found.items()}
        cider, bleu = scores.values["cider"], scores.values["bleu_4"]
        selects = None if cider is None or bleu is None else cider + bleu  # as GPT4Point
        undefined = {} if selects is not None else {"agg_metrics": "CIDEr is null"}
        return Scores(
            metrics=scores.metrics(),
            baselines={name: given.values for name, given in baselines.items()},
            agg_metrics=selects,
            extra={
                "decoding": self.options.decoding(),
                "tokenizer": scores.tokenizer,
                "unavailable": scores.unavailable | undefined,
                "n_empty": scores.n_empty,
                "text": text_name(dataset),
                "text_field": text_field_of(dataset),
                # Named only where it is not the default: result files of the default stay equal.
                **({} if self.options.caption_scorer == FAST else {"scorer": LIBRARY}),
                **({"baseline_pool": pool.size} if pool.whole else {}),
            },
            per_item=by_id(scores.ids, scores.per_item),
            baseline_items={
                name: by_id(given.ids, given.per_item) for name, given in baselines.items()
            },
            claims=[name for name in CLAIMED if name in scores.per_item],
        )

    def baseline_captions(
        self, pool: Pool, ids: list[str], object_of: dict[str, str], dataset: Any
    ) -> dict[str, dict[str, str]]:
        """Return {baseline: {item id: caption}}."""
        seed = int(self.run_cfg.get("seed", 42))
        by_object = caption_baselines(pool, text_field_of(dataset), seed)
        return {
            name: {i: captions[object_of.get(i, i)] for i in ids}
            for name, captions in by_object.items()
        }

    def scored(self, captions: dict[str, str], references: dict[str, list[str]]) -> CaptionScores:
        """Score captions with the run's tokenizer and scorer; METEOR and SPICE if requested."""
        return caption_scores(
            captions,
            references,
            tokenizer_name=self.options.caption_tokenizer,
            java_metrics=self.options.java_metrics,
            scorer=self.options.caption_scorer,
        )


def altered(dataset: Any) -> bool:
    """Return whether a split is under a control or corruption."""
    return getattr(dataset, "alteration", None) is not None


def first_texts(retrieved: list[list[str]]) -> list[str]:
    """Return the nearest object's text for each of B objects.

    Raises:
        ConfigError: the model retrieves none.
    """
    if not all(retrieved):
        what, fix = "the model retrieves no texts", "set model.retrieved_texts: 1 or more"
        raise ConfigError(what, where="run.caption_source", got=RETRIEVED, fix=fix)
    return [texts[0] for texts in retrieved]


def references_of(records: list[dict[str, Any]], dataset: Any) -> dict[str, list[str]]:
    """Return every caption of each item, the first one first."""
    several = {
        str(entry["instance_id"]): all_texts(entry, "caption")
        for entry in dataset.annotation
        if "texts" in entry
    }
    return {r["image_id"]: several.get(r["image_id"], [r["2d_caption"]]) for r in records}


def text_field_of(dataset: Any) -> str:
    """Return the annotation field that the evaluated texts come from."""
    return str(getattr(dataset, "text_field", "caption"))


def object_ids_of(dataset: Any) -> dict[str, str]:
    """Return {instance id: object id} of a split."""
    return {
        str(entry["instance_id"]): str(entry.get("object_id", entry["instance_id"]))
        for entry in dataset.annotation
    }


def full_reference(dataset: Any) -> Any:
    """Return all training objects, regardless of their limit, with evaluation processing."""
    full = copy.copy(dataset.reference_dataset())
    field = text_field_of(dataset)
    full.annotation = [
        {
            **entry,
            "instance_id": str(entry.get("instance_id", entry.get("object_id"))),
            "caption": training_text(entry, field),
        }
        for entry in dataset.train_annotation()
    ]
    return full
