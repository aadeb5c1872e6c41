"""Zero-shot classification: class names in prompt templates against the object's embedding."""

from __future__ import annotations

from typing import Any

import numpy as np

from lavis.common.registry import registry
from lavis.evaluation.classification import (
    chance_accuracy,
    classification_scores,
    most_frequent_accuracy,
)
from lavis.tasks.point_task import PointTask, Scores

# Our own prompts; a class is the mean of its prompts' embeddings.
DEFAULT_TEMPLATES = ("{}", "a {}", "a 3D model of a {}", "a point cloud of a {}", "this is a {}")


@registry.register_task("point_classification")
class PointClassificationTask(PointTask):
    """Score each object against every class name without training on labels."""

    name = "point_classification"

    def before_evaluation(self, model: Any, dataset: Any, **kwargs: Any) -> None:
        """Embed the class names once."""
        self.templates = list(dataset.class_templates or DEFAULT_TEMPLATES)
        self.class_embeds = model.class_embeddings(dataset.class_names, self.templates)

    def valid_step(self, model: Any, samples: dict[str, Any]) -> list[dict[str, Any]]:
        """Score a batch against every class."""
        scores = model.predict_class(samples, self.class_embeds).float().cpu().numpy()
        return [
            {"instance_id": str(i), "label": int(label), "scores": row}
            for i, label, row in zip(samples["instance_id"], samples["label"], scores, strict=True)
        ]

    def score(self, records: list[dict[str, Any]], dataset: Any, model: Any) -> Scores:
        """Top-1/3/5 and class mean, beside chance and the most frequent training class."""
        names = list(dataset.class_names)
        labels = [record["label"] for record in records]
        scores = classification_scores(
            np.stack([record["scores"] for record in records]), labels, names
        )
        frequent = most_frequent_accuracy(dataset.train_labels(), labels)
        return Scores(
            metrics=scores.metrics(),
            baselines={"chance": chance_accuracy(len(names)), "most_frequent_class": frequent},
            agg_metrics=scores.values["top_1"],
            extra={
                "templates": self.templates,
                "per_class": scores.per_class,
                "classes": names,
                "confusion": scores.confusion.tolist(),
            },
            predictions=[named_prediction(record, names) for record in records],
        )


def named_prediction(record: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Replace the scores by the five best class names."""
    best = np.argsort(-record["scores"], kind="stable")[:5]
    return {
        "instance_id": record["instance_id"],
        "label": names[record["label"]],
        "prediction": names[int(best[0])],
        "top_5": [names[int(index)] for index in best],
    }
