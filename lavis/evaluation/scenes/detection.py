"""3D object detection: mAP@0.25 and mAP@0.5 as VoteNet evaluates ScanNet and SUN RGB-D.

From the best prediction to the worst, one is right when the box of its class that it overlaps most
does so by more than the threshold and is not taken. The mean is over the classes that have a box in
the split.

Reference: github.com/facebookresearch/votenet, utils/eval_det.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lavis.common.errors import EvaluationError
from lavis.evaluation.scenes.boxes import box_overlaps
from lavis.evaluation.scenes.precision import voc_ap
from lavis.evaluation.scenes.resampling import (
    SceneScores,
    SceneValues,
    class_rows,
    mean_of_defined,
    scene_weights,
)

OVERLAPS = {"map_25": 0.25, "map_50": 0.5}
NO_BOX = "the split has no box"


@dataclass(frozen=True)
class BoxMatches:
    """Boxes found in one scene: label and score [P], right bool [P,T]; annotated [K]."""

    label: np.ndarray
    score: np.ndarray
    right: np.ndarray
    annotated: np.ndarray


def match_boxes(
    boxes: np.ndarray,
    labels: np.ndarray,
    found: np.ndarray,
    found_labels: np.ndarray,
    scores: np.ndarray,
    classes: int,
) -> BoxMatches:
    """Match the boxes found in a scene with those annotated.

    Args:
        boxes: [G,6|7]; labels: [G].
        found: [P,6|7]; found_labels, scores: [P].
        classes: K.

    Raises:
        EvaluationError: sizes disagree, a label outside the set, or numbers that are not finite.
    """
    _check(found, found_labels, scores, classes)
    _check(boxes, labels, np.zeros(len(labels)), classes)
    order = np.argsort(-scores, kind="stable")
    found, found_labels, scores = found[order], found_labels[order], scores[order]
    right = np.zeros((len(scores), len(OVERLAPS)), bool)
    for label in np.intersect1d(labels, found_labels):
        own = np.flatnonzero(found_labels == label)
        overlap = box_overlaps(found[own], boxes[labels == label])  # [p,g]
        nearest, most = overlap.argmax(1), overlap.max(1)
        for place, threshold in enumerate(OVERLAPS.values()):
            over = np.flatnonzero(most > threshold)
            first = np.unique(nearest[over], return_index=True)[1]  # the best one of each box
            right[own[over[first]], place] = True
    return BoxMatches(found_labels, scores, right, np.bincount(labels, minlength=classes))


def _check(boxes: np.ndarray, labels: np.ndarray, scores: np.ndarray, classes: int) -> None:
    count = len(labels)
    fits = boxes.shape in ((count, 6), (count, 7)) and scores.shape == (count,)
    known = ((labels >= 0) & (labels < classes)).all()
    if not (fits and known and np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise EvaluationError(
            "boxes cannot be scored",
            got=f"boxes {boxes.shape}, labels {labels[:10].tolist()}, scores {scores.shape}",
            expected=f"finite boxes [P,6|7], labels 0 to {classes - 1}, finite scores [P]",
        )


def detection_scores(
    scenes: Sequence[BoxMatches], ids: Sequence[str], class_names: Sequence[str]
) -> SceneScores:
    """Return `map_25`, `map_50` and `scene_map_25`, over the classes with a box."""
    weights = scene_weights(len(ids))  # [R,S]
    scene_of = np.repeat(np.arange(len(ids)), [len(s.label) for s in scenes])
    label, score, right = (
        np.concatenate([getattr(s, name) for s in scenes]) for name in ("label", "score", "right")
    )
    annotated = weights @ np.stack([s.annotated for s in scenes])  # [R,K]
    ap = np.full((len(OVERLAPS), len(class_names), len(weights)), np.nan)  # [T,K,R]
    for k in np.flatnonzero(annotated[0]):
        own = label == k
        weight = weights[:, scene_of[own]]
        for t in range(len(OVERLAPS)):
            found = voc_ap(score[own], right[own, t], weight, annotated[:, k])
            ap[t, k] = np.where(annotated[:, k] > 0, found, np.nan)
    values = {
        name: SceneValues(mean_of_defined(rows, axis=0), len(ids))
        for name, rows in zip(OVERLAPS, ap, strict=True)
    }
    per_class = class_rows(class_names, {n: rows[:, 0] for n, rows in zip(OVERLAPS, ap)})
    return SceneScores(values, list(ids), "map_25", per_class)
