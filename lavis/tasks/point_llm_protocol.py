"""Captioning by the PointLLM protocol: its prompt, its result file, its sentence-level metrics.

`run.prompt_index` 0 and 1 are its classification prompts, 2 (default here) its captioning prompt.
Similarities use `run.sentence_encoder` (MiniLM built in); `python -m lavis.evaluation.pointllm`
adds SBERT and SimCSE, `python -m lavis.evaluation.judge` a judge, to the file that this writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lavis.common.registry import registry
from lavis.evaluation.pointllm import PROMPTS, Prediction, protocol_metrics
from lavis.evaluation.sentence_encoders import SentenceEncoder
from lavis.models.abilities import Captioner
from lavis.tasks.data_needs import DataNeeds
from lavis.tasks.options import WritingOptions, task_option
from lavis.tasks.point_task import PointTask, Scores, by_id


@dataclass(frozen=True)
class PointLLMOptions(WritingOptions):
    """Options of tasks with PointLLM's prompts."""

    prompt_index: int = task_option(2, "which of PointLLM's prompts", low=0, high=2)
    sentence_encoder: str = task_option("minilm", "minilm, or a folder (folder@pooling)")


class PointLLMTask(PointTask):
    """Base of tasks that generate with one of PointLLM's prompts and write its result entries."""

    needs = (Captioner,)
    id_key = "object_id"
    options_class: type[PointLLMOptions] = PointLLMOptions

    def settings(self) -> dict[str, Any]:
        """Return decoding settings, with PointLLM's prompt unless the recipe has one."""
        settings = self.options.decoding()
        if settings["prompt"] is None:
            settings["prompt"] = PROMPTS[self.options.prompt_index]
        return settings


@registry.register_task("point_llm_captioning")
class PointLLMCaptioningTask(PointLLMTask):
    """Result file: {"prompt", "results": [{"object_id", "ground_truth", "model_output"}]}."""

    name = "point_llm_captioning"
    data_needs = DataNeeds(("caption",))
    metric_names = ("pointllm/*",)

    def valid_step(self, model: Any, samples: dict[str, Any]) -> list[dict[str, Any]]:
        """Caption a batch."""
        texts = model.generate(samples, **self.settings())
        rows = zip(samples["instance_id"], samples["caption"], texts, strict=True)
        return [
            {"object_id": str(i), "ground_truth": caption, "model_output": text}
            for i, caption, text in rows
        ]

    def score(self, records: list[dict[str, Any]], dataset: Any, model: Any) -> Scores:
        """Sentence-level BLEU and ROUGE, and the similarity of sentence embeddings."""
        encoder = SentenceEncoder(self.options.sentence_encoder)
        keys = ("object_id", "ground_truth", "model_output")
        items = [Prediction(*(record[key] for key in keys)) for record in records]
        metrics, per_item, missing = protocol_metrics(items, [encoder])
        similarity = metrics[f"pointllm/similarity/{encoder.label}"]["value"]
        return Scores(
            metrics=metrics,
            baselines={},
            agg_metrics=float(similarity),
            extra={"decoding": self.settings(), "unavailable": missing},
            predictions={"prompt": self.settings()["prompt"], "results": records},
            per_item=by_id([item.item_id for item in items], per_item),
        )
