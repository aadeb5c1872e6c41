"""Referring segmentation: a sentence means one object of a scene; IoU and accuracy@0.25, @0.5.

Baselines choose a true mask: of any object at random, and of those whose class the sentence names.
They need no segmentation, so what they score is chance among perfect masks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from lavis.common.registry import registry
from lavis.evaluation.intervals import mean_ci
from lavis.evaluation.scenes.pictures import target_picture
from lavis.evaluation.scenes.referring import mask_iou, random_object, referring_items
from lavis.models.abilities import ReferringSegmenter
from lavis.tasks.point_task import Scores, by_id
from lavis.tasks.scene_task import SceneItem, SceneTask, array_of, picture_files, scene_items


@registry.register_task("point_referring")
class PointReferringTask(SceneTask):
    """Segment what a sentence means."""

    name = "point_referring"
    needs = (ReferringSegmenter,)
    metric_names = ("iou", "accuracy_25", "accuracy_50", "accuracy_*/*", "iou/*")

    def check_inputs(self, model: Any, dataset: Any) -> None:
        """Accept any classes: sentences are free text."""

    def before_evaluation(self, model: Any, dataset: Any, **kwargs: Any) -> None:
        """Compose the pattern that finds class names in sentences; no training scene is read."""
        self._fitted_on = dataset
        super().before_evaluation(model, dataset, **kwargs)

    def valid_step(self, model: Any, samples: dict[str, Any]) -> list[dict[str, Any]]:
        """Compare the mask of each sentence with its object."""
        masks = array_of(model.refer(samples)) > 0  # [B,N]
        texts = samples["text_input"]
        kinds = samples.get("kind", [""] * len(texts))
        return [
            self._record(item, masks[item.row], texts[item.row], kinds[item.row])
            for item in scene_items(samples)
        ]

    def _record(self, item: SceneItem, mask: np.ndarray, text: str, kind: str) -> dict[str, Any]:
        semantic, instance = (
            item.need(name, self.name) for name in ("semantic_label", "instance_label")
        )
        target = int(item.need("target_instance", self.name))
        own, meant = mask[: len(instance)], instance == target
        named = first_named(text, self.names)
        record = {
            "instance_id": item.instance_id,
            "text": text,
            "kind": "color" if kind.startswith("color ") else str(kind),
            "iou": mask_iou(own, meant),
            "random_object": random_object(instance, semantic, target),
            "named_class": random_object(instance, semantic, target, named),
        }
        return record | self.drawn(
            item, lambda: target_picture(item.instance_id, item.cloud, meant, own, text)
        )

    def score(self, records: list[dict[str, Any]], dataset: Any, model: Any) -> Scores:
        """Return the means over sentences, and over those of each kind."""
        ids = [record["instance_id"] for record in records]
        items = referring_items([record["iou"] for record in records])
        per_item = by_id(ids, items)
        baselines = {
            name: {metric: np.array([r[name][metric] for r in records]) for metric in items}
            for name in ("random_object", "named_class")
        }
        return Scores(
            metrics=_means(items) | _kinds(items, [record["kind"] for record in records]),
            baselines={
                name: {metric: float(values.mean()) for metric, values in rows.items()}
                for name, rows in baselines.items()
            },
            agg_metrics=float(items["iou"].mean()),
            predictions=[
                {key: record[key] for key in ("instance_id", "text", "kind", "iou")}
                for record in records
            ],
            per_item=per_item,
            baseline_items={name: by_id(ids, rows) for name, rows in baselines.items()},
            claims=["iou", "accuracy_50"],
            files=picture_files(records, self.name),
        )


def first_named(text: str, names: Sequence[str]) -> list[int]:
    """Return the class that a sentence names first, [] for none; longer names go first."""
    ordered = sorted(names, key=len, reverse=True)
    pattern = re.compile(rf"\b(?:{'|'.join(map(re.escape, ordered)) or '(?!)'})s?\b", re.IGNORECASE)
    found = pattern.search(text)
    if found is None:
        return []
    word = found.group().lower()
    lower = [name.lower() for name in names]
    return [lower.index(word if word in lower else word.removesuffix("s"))]


def _means(items: dict[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    return {k: {"value": float(v.mean()), "ci95": list(mean_ci(v))} for k, v in items.items()}


def _kinds(items: dict[str, np.ndarray], kinds: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the metrics of each kind of sentence: "iou/next to"."""
    return {
        f"{metric}/{kind}": entry
        for kind in sorted(set(kinds) - {""})
        for metric, entry in _means(
            {k: v[np.array([one == kind for one in kinds])] for k, v in items.items()}
        ).items()
    }
