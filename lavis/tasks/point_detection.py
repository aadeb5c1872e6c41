"""3D object detection: VoteNet's mAP@0.25 and mAP@0.5; baselines: clusters, nearest layout."""

from __future__ import annotations

from typing import Any

import numpy as np

from lavis.common.registry import registry
from lavis.evaluation.baselines.scene_clusters import ClusterBaseline
from lavis.evaluation.baselines.scene_layouts import LayoutBaseline
from lavis.evaluation.scenes.detection import NO_BOX, detection_scores, match_boxes
from lavis.evaluation.scenes.pictures import box_picture
from lavis.models.abilities import Detector
from lavis.tasks.point_task import Scores
from lavis.tasks.scene_task import SceneItem, SceneTask, array_of, scene_items

Found = tuple[np.ndarray, np.ndarray, np.ndarray]  # boxes [P,6|7], labels [P], scores [P]


@registry.register_task("point_detection")
class PointDetectionTask(SceneTask):
    """Find the objects of a scene as boxes."""

    name = "point_detection"
    needs = (Detector,)
    metric_names = ("map_25", "map_50", "scene_map_25")

    def fit_baselines(self, scenes: list[dict[str, np.ndarray]]) -> None:
        """Describe the training objects and remember their layouts."""
        usable = [scene for scene in scenes if "instance_label" in scene]
        self.clusters = ClusterBaseline(usable, len(self.names)) if usable else None
        self.layouts = LayoutBaseline(usable, len(self.names)) if usable else None

    def valid_step(self, model: Any, samples: dict[str, Any]) -> list[dict[str, Any]]:
        """Match the boxes of each scene."""
        found = model.detect(samples)
        return [self._record(item, found[item.row]) for item in scene_items(samples)]

    def _record(self, item: SceneItem, found: dict[str, Any]) -> dict[str, Any]:
        boxes, labels = (item.need(name, self.name) for name in ("boxes", "box_label"))
        own: Found = tuple(array_of(found[k]) for k in ("boxes", "labels", "scores"))  # type: ignore[assignment]
        given = {"model": own} | self._baselines(item)
        record = {
            "instance_id": item.instance_id,
            "matches": {
                name: match_boxes(boxes, labels, *rows, len(self.names))
                for name, rows in given.items()
            },
            "prediction": {"boxes": len(own[1])},
        }
        return record | self.drawn(
            item,
            lambda: box_picture(item.instance_id, item.cloud, (boxes, labels), own, self.names),
        )

    def _baselines(self, item: SceneItem) -> dict[str, Found]:
        if self.clusters is None or self.layouts is None:
            return {}
        clusters = self.clusters.find(item.xyz, item.rgb)
        boxes = np.array([c.box for c in clusters]).reshape(-1, 6)
        labels = np.array([c.label for c in clusters], int)
        scores = np.array([c.score for c in clusters], float)
        return {
            "clusters": (boxes, labels, scores),
            "nearest_layout": self.layouts.nearest(item.xyz),
        }

    def score(self, records: list[dict[str, Any]], dataset: Any, model: Any) -> Scores:
        """Return the mean average precisions over the split."""
        ids = [record["instance_id"] for record in records]
        found = {
            name: detection_scores([r["matches"][name] for r in records], ids, self.names)
            for name in records[0]["matches"]
        }
        extra = {"classes": self.names}
        return self.scene_scores(found.pop("model"), found, records, NO_BOX, extra)
