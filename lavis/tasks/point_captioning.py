"""Captioning: generate a caption for each object and score it against the human one.

Baselines: a random training caption, and the caption of the nearest training object in the model's
own embedding (a captioner that cannot write, only copy).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lavis.common.registry import registry
from lavis.evaluation.baselines import nearest_neighbour_captions, random_captions
from lavis.evaluation.captioning import CaptionScores, caption_scores
from lavis.evaluation.tokenization import TOKENIZER_NAME
from lavis.tasks.embedding import embed_objects
from lavis.tasks.point_task import PointTask, Scores, by_id


@registry.register_task("point_captioning")
@registry.register_task("captioning")
class PointCaptioningTask(PointTask):
    """Generate captions; result entries are {"image_id", "2d_caption", "caption"}."""

    name = "point_captioning"
    id_key = "image_id"

    def valid_step(self, model: Any, samples: dict[str, Any]) -> list[dict[str, Any]]:
        """Caption a batch."""
        settings = self.decoding_settings()
        captions = model.generate(samples, **settings)
        embeds = model.object_embeddings(samples).float().cpu().numpy()
        return [
            {"image_id": str(i), "2d_caption": reference, "caption": caption, "embedding": embed}
            for i, reference, caption, embed in zip(
                samples["instance_id"], samples["caption"], captions, embeds, strict=True
            )
        ]

    def decoding_settings(self) -> dict[str, Any]:
        """Settings of generation, recorded with the scores."""
        return {
            "num_beams": int(self.run_cfg.get("num_beams", 1)),
            "max_length": int(self.run_cfg.get("max_len", 30)),
            "min_length": int(self.run_cfg.get("min_len", 1)),
            "top_p": self.run_cfg.get("top_p"),
            "temperature": self.run_cfg.get("temperature") or 1.0,
            "prompt": self.run_cfg.get("prompt"),
        }

    def before_evaluation(self, model: Any, dataset: Any, **kwargs: Any) -> None:
        """Embed the training objects for the nearest-neighbour captioner; ranks share the work.

        A data set may come without training objects: then there are no baselines.
        """
        reference = dataset.reference_dataset()
        self.train_captions = [entry["caption"] for entry in reference.annotation]
        if self.train_captions:
            self.train_embeds = embed_objects(model, reference, int(self.run_cfg.batch_size_eval))

    def score(self, records: list[dict[str, Any]], dataset: Any, model: Any) -> Scores:
        """BLEU, ROUGE-L, CIDEr and diversity, beside two captioners that cannot write."""
        references = {record["image_id"]: [record["2d_caption"]] for record in records}
        embeds = np.stack([record.pop("embedding") for record in records])
        scores = self.scored({r["image_id"]: r["caption"] for r in records}, references)
        baselines = self.baseline_scores(records, references, embeds) if self.train_captions else {}
        return Scores(
            metrics=scores.metrics(),
            baselines=baselines,
            # As GPT4Point: CIDEr + BLEU-4.
            agg_metrics=float(scores.values["cider"] or 0) + float(scores.values["bleu_4"] or 0),
            extra={
                "decoding": self.decoding_settings(),
                "tokenizer": scores.tokenizer,
                "unavailable": scores.unavailable,
                "n_empty": scores.n_empty,
            },
            per_item=by_id(scores.ids, scores.per_item),
        )

    def scored(
        self, captions: dict[str, str], references: dict[str, list[str]], java: bool | None = None
    ) -> CaptionScores:
        """Score captions with the run's tokenizer; METEOR and SPICE when asked for."""
        return caption_scores(
            captions,
            references,
            tokenizer_name=self.run_cfg.get("caption_tokenizer", TOKENIZER_NAME),
            java_metrics=bool(self.run_cfg.get("java_metrics", False)) if java is None else java,
        )

    def baseline_scores(
        self,
        records: list[dict[str, Any]],
        references: dict[str, list[str]],
        embeds: np.ndarray,
    ) -> dict[str, dict[str, Any]]:
        """Score training captions that are copied from the nearest object, and random ones."""
        ids = [record["image_id"] for record in records]
        copied = nearest_neighbour_captions(self.train_embeds, self.train_captions, embeds)
        drawn = random_captions(self.train_captions, len(ids), seed=int(self.run_cfg.seed))
        return {
            "nearest_neighbour": self.scored(dict(zip(ids, copied)), references).values,
            "random_training_caption": self.scored(
                dict(zip(ids, drawn)), references, java=False
            ).values,
        }
