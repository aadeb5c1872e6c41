"""Instance segmentation of scenes: ScanNet's AP, AP50 and AP25; baseline: clusters of points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lavis.common.registry import registry
from lavis.evaluation.baselines.scene_clusters import ClusterBaseline, as_instances
from lavis.evaluation.scenes.instances import (
    LEAST_POINTS,
    NO_INSTANCE,
    InstancePrediction,
    instance_scores,
    match_instances,
)
from lavis.evaluation.scenes.pictures import mask_picture
from lavis.models.abilities import InstanceSegmenter
from lavis.tasks.options import task_option
from lavis.tasks.point_task import Scores
from lavis.tasks.scene_task import SceneItem, SceneOptions, SceneTask, array_of, scene_items


@dataclass(frozen=True)
class InstanceOptions(SceneOptions):
    """Options of instance segmentation."""

    least_points: int = task_option(
        LEAST_POINTS, "points below which instances and predictions do not count", low=1
    )


@registry.register_task("point_instance_segmentation")
class PointInstanceSegmentationTask(SceneTask):
    """Separate the instances of a scene."""

    name = "point_instance_segmentation"
    needs = (InstanceSegmenter,)
    options_class = InstanceOptions
    metric_names = ("ap", "ap_50", "ap_25", "scene_ap_50")

    def fit_baselines(self, scenes: list[dict[str, np.ndarray]]) -> None:
        """Describe the training objects."""
        self.clusters = ClusterBaseline(scenes, len(self.names)) if scenes else None

    def valid_step(self, model: Any, samples: dict[str, Any]) -> list[dict[str, Any]]:
        """Match the instances of each scene."""
        found = model.segment(samples)
        return [self._record(item, found[item.row]) for item in scene_items(samples)]

    def _record(self, item: SceneItem, found: dict[str, Any]) -> dict[str, Any]:
        semantic, instance = (
            item.need(name, self.name) for name in ("semantic_label", "instance_label")
        )
        count = len(item.cloud)
        arrays = {name: array_of(values) for name, values in found.items()}
        own = InstancePrediction(
            arrays["masks"][:, :count].astype(bool), arrays["labels"], arrays["scores"]
        )
        given = {"model": own}
        if self.clusters is not None:
            given["clusters"] = as_instances(self.clusters.find(item.xyz, item.rgb), count)
        sizes = (len(self.names), self.options.least_points)
        record = {
            "instance_id": item.instance_id,
            "matches": {
                k: match_instances(semantic, instance, v, *sizes) for k, v in given.items()
            },
            "prediction": {"instances": len(own.labels)},
        }
        return record | self.drawn(
            item,
            lambda: mask_picture(item.instance_id, item.cloud, instance, own, self.names),
        )

    def score(self, records: list[dict[str, Any]], dataset: Any, model: Any) -> Scores:
        """Return the average precisions over the split."""
        ids = [record["instance_id"] for record in records]
        found = {
            name: instance_scores([r["matches"][name] for r in records], ids, self.names)
            for name in records[0]["matches"]
        }
        extra = {"classes": self.names, "least_points": self.options.least_points}
        return self.scene_scores(found.pop("model"), found, records, NO_INSTANCE, extra)
