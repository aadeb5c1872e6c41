"""Generative classification: a generated answer is matched to the class names.

The prompt is PointLLM's "What is this?" unless `run.prompt` or `run.prompt_index` is set. A
class name in the answer decides, else the nearest class in a sentence embedding
(evaluation/closed_set.py); judges read the same predictions file afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lavis.common.registry import registry
from lavis.evaluation.classification import chance_accuracy, most_frequent_accuracy
from lavis.evaluation.closed_set import match_classes
from lavis.evaluation.intervals import mean_metric
from lavis.evaluation.sentence_encoders import SentenceEncoder
from lavis.tasks.data_needs import DataNeeds
from lavis.tasks.options import task_option
from lavis.tasks.point_llm_protocol import PointLLMOptions, PointLLMTask
from lavis.tasks.point_task import Scores, by_id


@dataclass(frozen=True)
class GenerativeClassificationOptions(PointLLMOptions):
    """Options of generative classification."""

    prompt_index: int = task_option(0, "which of PointLLM's prompts", low=0, high=2)


@registry.register_task("point_generative_classification")
class PointGenerativeClassificationTask(PointLLMTask):
    """Result entries are PointLLM's: object_id, ground_truth, model_output, label_name."""

    name = "point_generative_classification"
    options_class = GenerativeClassificationOptions
    data_needs = DataNeeds(classes=True)
    metric_names = ("generative_accuracy", "generative_accuracy_by_name", "named_a_class")

    def before_evaluation(self, model: Any, dataset: Any, **kwargs: Any) -> None:
        """Store the class names."""
        self.class_names = list(dataset.class_names)

    def valid_step(self, model: Any, samples: dict[str, Any]) -> list[dict[str, Any]]:
        """Generate answers for a batch."""
        texts = model.generate(samples, **self.settings())
        rows = zip(samples["instance_id"], samples["label"], texts, strict=True)
        return [
            {
                "object_id": str(i),
                "ground_truth": int(label),
                "model_output": text,
                "label_name": self.class_names[int(label)],
            }
            for i, label, text in rows
        ]

    def score(self, records: list[dict[str, Any]], dataset: Any, model: Any) -> Scores:
        """Return the accuracy of the matched classes, overall and of answers with a class name."""
        encoder = SentenceEncoder(self.options.sentence_encoder)
        matches = match_classes([r["model_output"] for r in records], self.class_names, encoder)
        labels = np.array([record["ground_truth"] for record in records])
        correct = (matches.predicted == labels).astype(np.float64)
        items = {
            "generative_accuracy": correct,
            "generative_accuracy_by_name": correct * matches.by_name,
            "named_a_class": matches.by_name.astype(np.float64),
        }
        for record, index in zip(records, matches.predicted.tolist()):
            record["matched_class"] = self.class_names[index] if index >= 0 else None
        chance = chance_accuracy(len(self.class_names))["top_1"]
        frequent = most_frequent_accuracy(dataset.train_labels(), labels)["top_1"]
        return Scores(
            metrics={name: mean_metric(values) for name, values in items.items()},
            baselines={
                "chance": {"generative_accuracy": chance},
                "most_frequent_class": {"generative_accuracy": frequent},
            },
            agg_metrics=float(correct.mean()),
            extra={"decoding": self.settings(), "matching": f"name, then {encoder.label}"},
            predictions={"prompt": self.settings()["prompt"], "results": records},
            per_item=by_id([record["object_id"] for record in records], items),
        )
