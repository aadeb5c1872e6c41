"""Semantic segmentation of scenes: mIoU and accuracies, among the classes of training or any words.

`run.vocabulary: open` scores every class of the data set by its name. On rooms of held-out classes
`miou/held_out` and `miou/seen` show both kinds, and `held_out_only/miou` the points of held-out
classes when only their names are offered; chance is the expectation of a random label. There, the
baselines' classes of training stand for the offered name whose MiniLM embedding is most similar.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lavis.common.registry import registry
from lavis.evaluation.baselines.class_texts import sentence_vectors
from lavis.evaluation.baselines.scene_points import PointBaselines
from lavis.evaluation.confusion_picture import confusion_svg
from lavis.evaluation.scenes.pictures import label_picture
from lavis.evaluation.scenes.resampling import SceneScores
from lavis.evaluation.scenes.segmentation import (
    NONE_LABELLED,
    chance_confusions,
    confusion,
    segmentation_scores,
)
from lavis.models.abilities import SceneSegmenter
from lavis.tasks.options import task_option
from lavis.tasks.point_task import Scores
from lavis.tasks.scene_task import (
    SceneItem,
    SceneOptions,
    SceneTask,
    array_of,
    known_classes,
    scene_items,
)

ONLY = "held_out_only"


@dataclass(frozen=True)
class SegmentationOptions(SceneOptions):
    """Options of semantic segmentation."""

    vocabulary: str = task_option(
        "closed",
        "closed: the classes of training; open: all names of the data set",
        choices=("closed", "open"),
    )


@registry.register_task("point_segmentation")
class PointSegmentationTask(SceneTask):
    """Classify every point of a scene."""

    name = "point_segmentation"
    needs = (SceneSegmenter,)
    options_class = SegmentationOptions
    metric_names = ("miou", "macc", "accuracy", "scene_miou")

    def possible_metrics(self, model: Any) -> tuple[str, ...]:
        """Return the scores, with those of groups of classes of an open vocabulary."""
        more = ("miou/seen", "miou/held_out", "harmonic_iou", f"{ONLY}/*")
        return self.metric_names + (more if self.options.vocabulary == "open" else ())

    def before_evaluation(self, model: Any, dataset: Any, **kwargs: Any) -> None:
        """Choose the labels that are offered."""
        self.seen = known_classes(model, dataset)
        is_open = self.options.vocabulary == "open"
        offered = len(dataset.class_names) if is_open else self.seen
        self.held_out = list(range(self.seen, offered))
        super().before_evaluation(model, dataset, **kwargs)
        self.names = self.names[:offered]
        vectors = sentence_vectors(self.names, None) if self.held_out else None
        self.alike = None  # Long [seen], the most similar held-out name of every class of training
        if vectors is not None:
            self.alike = (vectors[: self.seen] @ vectors[self.seen :].T).argmax(1)

    def fit_baselines(self, scenes: list[dict[str, np.ndarray]]) -> None:
        """Learn classes of colours and heights."""
        self.points = PointBaselines(scenes, self.seen) if scenes else None

    def valid_step(self, model: Any, samples: dict[str, Any]) -> list[dict[str, Any]]:
        """Count the points of each scene by label and prediction."""
        asked = self.names if self.options.vocabulary == "open" else None
        logits = model.segment_points(samples, asked)  # [B,N,K]
        best = array_of(logits.argmax(-1))
        only = array_of(logits[..., self.held_out].argmax(-1)) if self.held_out else None
        return [
            self._record(item, best[item.row], None if only is None else only[item.row])
            for item in scene_items(samples)
        ]

    def _record(self, item: SceneItem, best: np.ndarray, only: np.ndarray | None) -> dict[str, Any]:
        count, size = len(item.cloud), len(self.names)
        labels = item.need("semantic_label", self.name)
        labels = np.where(labels < size, labels, -1)  # held-out classes of a closed vocabulary
        best = best[:count]
        record = {"instance_id": item.instance_id, "confusion": confusion(labels, best, size)}
        guesses = {} if self.points is None else self.points.predict(item.xyz, item.rgb)
        if only is not None:
            own = np.where(labels >= self.seen, labels - self.seen, -1)
            words = {} if self.alike is None else {k: self.alike[v] for k, v in guesses.items()}
            record[ONLY] = {
                k: confusion(own, v, len(self.held_out))
                for k, v in {"model": only[:count], **words}.items()
            }
        record["baselines"] = {k: confusion(labels, v, size) for k, v in guesses.items()}
        return record | self.drawn(
            item, lambda: label_picture(item.instance_id, item.cloud, labels, best, self.names)
        )

    def score(self, records: list[dict[str, Any]], dataset: Any, model: Any) -> Scores:
        """Return mIoU and accuracies over the split."""
        counts = np.stack([record["confusion"] for record in records])
        found = self._scores(records, counts)
        names = list(records[0]["baselines"])
        rows = {k: np.stack([r["baselines"][k] for r in records]) for k in names}
        rows["chance"] = chance_confusions(counts)
        baselines = {name: self._scores(records, own) for name, own in rows.items()}
        extra = {"classes": self.names, "vocabulary": self.options.vocabulary}
        scores = self.scene_scores(found, baselines, records, NONE_LABELLED, extra)
        if self.held_out:
            self._add_held_out(scores, records)
        scores.files["confusion.svg"] = confusion_svg(counts.sum(0), self.names, self.name)
        return scores

    def _scores(self, records: Sequence[dict[str, Any]], counts: np.ndarray) -> SceneScores:
        groups = {"seen": range(self.seen), "held_out": self.held_out} if self.held_out else {}
        return segmentation_scores(counts, [r["instance_id"] for r in records], self.names, groups)

    def _add_held_out(self, scores: Scores, records: list[dict[str, Any]]) -> None:
        """Add the scores of held-out points among the held-out names alone."""
        ids, names = [r["instance_id"] for r in records], self.names[self.seen :]
        counts = {k: np.stack([r[ONLY][k] for r in records]) for k in records[0][ONLY]}
        counts["chance"] = chance_confusions(counts["model"])
        for name, own in counts.items():
            found = segmentation_scores(own, ids, names)
            if name == "model":
                scores.metrics |= {f"{ONLY}/{k}": v for k, v in found.metrics().items()}
            else:
                named = {f"{ONLY}/{k}": v for k, v in found.baseline().items()}
                scores.baselines[name] |= named
        scores.extra["held_out_classes"] = names
