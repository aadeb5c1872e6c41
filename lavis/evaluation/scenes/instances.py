"""Instance segmentation of scenes: AP, AP50 and AP25 as ScanNet's script computes them.

AP is the mean over the overlaps 0.5 to 0.9 and the classes that have an instance in the split. An
instance of fewer than `least` points is ignored, as are predictions that mostly cover such or
unlabelled points; of two predictions of an instance the worse one is false.

Reference: github.com/ScanNet/ScanNet, BenchmarkScripts/3d_evaluation/evaluate_semantic_instance.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lavis.common.errors import EvaluationError
from lavis.evaluation.scenes.precision import scannet_ap
from lavis.evaluation.scenes.resampling import (
    SceneScores,
    SceneValues,
    class_rows,
    mean_of_defined,
    scene_weights,
)

OVERLAPS = np.append(np.arange(0.5, 0.95, 0.05), 0.25)
LEAST_POINTS = 100
NO_INSTANCE = "no instance of the split has enough points"


@dataclass(frozen=True)
class InstanceMatches:
    """Predictions of one scene against its instances.

    Attributes:
        label, overlap: [M], class and row of OVERLAPS of each ranked prediction.
        score, right: [M].
        missed: [K,T], instances without a prediction.
        instances, predictions: [K], how many there are.
    """

    label: np.ndarray
    overlap: np.ndarray
    score: np.ndarray
    right: np.ndarray
    missed: np.ndarray
    instances: np.ndarray
    predictions: np.ndarray


@dataclass(frozen=True)
class InstancePrediction:
    """Instances that were found: masks bool [P,N], labels [P], scores [P]."""

    masks: np.ndarray
    labels: np.ndarray
    scores: np.ndarray

    def checked(self, points: int, classes: int) -> InstancePrediction:
        """Return it.

        Raises:
            EvaluationError: sizes disagree, a label outside the set, or a score that is no number.
        """
        count = len(self.labels)
        fits = self.masks.shape == (count, points) and self.scores.shape == (count,)
        known = ((self.labels >= 0) & (self.labels < classes)).all()
        if not (fits and known and np.isfinite(self.scores).all()):
            raise EvaluationError(
                "instances do not fit the scene",
                got=f"masks {self.masks.shape}, labels {self.labels[:10].tolist()}, "
                f"scores {self.scores[:10].tolist()}",
                expected=f"masks [P,{points}], labels 0 to {classes - 1}, finite scores [P]",
            )
        return self


def match_instances(
    semantic: np.ndarray,
    instance: np.ndarray,
    found: InstancePrediction,
    classes: int,
    least: int = LEAST_POINTS,
) -> InstanceMatches:
    """Match the predictions of a scene with its instances.

    Args:
        semantic, instance: [N], -1: none.
        found: in any order.
        classes: K.
        least: points below which instances and predictions do not count.

    Raises:
        EvaluationError: see `InstancePrediction.checked`.
    """
    found = found.checked(len(semantic), classes)
    labelled = (semantic >= 0) & (instance >= 0)
    pairs, member = np.unique(
        np.stack([semantic[labelled], instance[labelled]], 1), axis=0, return_inverse=True
    )
    sizes = np.bincount(member.ravel(), minlength=len(pairs))
    kept = found.masks.sum(1) >= least
    masks, labels, scores = found.masks[kept], found.labels[kept], found.scores[kept]
    belongs = np.zeros((len(semantic), len(pairs)), np.float32)
    belongs[np.flatnonzero(labelled), member.ravel()] = 1
    common = masks.astype(np.float32) @ belongs  # [P,G]
    void = (masks & ~labelled).sum(1)
    areas = masks.sum(1)
    missed = np.zeros((classes, len(OVERLAPS)), int)
    rows: list[np.ndarray] = []
    for label in np.unique(np.concatenate([pairs[:, 0], labels]).astype(int)):
        own, given = pairs[:, 0] == label, labels == label
        shared = common[given][:, own].T.astype(np.float64)  # [G,P]
        union = sizes[own][:, None] + areas[given] - shared
        large = sizes[own] >= least
        ignored = (void[given] + shared[~large].sum(0)) / areas[given]
        for place, overlap in enumerate(OVERLAPS):
            over = shared / union > overlap
            ranked, missed[label, place] = _match(over, large, scores[given], ignored > overlap)
            rows += [np.array([label, place, score, right]) for score, right in ranked]
    table = np.array(rows).reshape(-1, 4)
    counted = np.bincount(pairs[sizes >= least, 0].astype(int), minlength=classes)
    return InstanceMatches(
        table[:, 0].astype(int),
        table[:, 1].astype(int),
        table[:, 2],
        table[:, 3] > 0,
        missed,
        counted,
        np.bincount(labels.astype(int), minlength=classes),
    )


def _match(
    over: np.ndarray, large: np.ndarray, scores: np.ndarray, ignored: np.ndarray
) -> tuple[list[tuple[float, bool]], int]:
    """Rank the predictions of one class at one overlap.

    Args:
        over: bool [G,P], which instances and predictions overlap enough.
        large: bool [G], instances that count.
        scores: [P].
        ignored: bool [P], predictions that count only with a match.

    Returns:
        (score, right) of matches and false predictions, and the number of missed instances.
    """
    taken = np.zeros(len(scores), bool)
    ranked: list[tuple[float, bool]] = []
    missed = 0
    for row in over[large]:
        own = np.flatnonzero(row & ~taken)
        if not len(own):
            missed += 1
            continue
        taken[own[0]] = True  # as the script: only the first one is taken
        best, *others = sorted(scores[own].tolist(), reverse=True)
        ranked += [(best, True), *((score, False) for score in others)]
    false = ~over.any(0) & ~ignored
    return ranked + [(score, False) for score in scores[false].tolist()], missed


def instance_scores(
    scenes: Sequence[InstanceMatches], ids: Sequence[str], class_names: Sequence[str]
) -> SceneScores:
    """Return `ap`, `ap_50`, `ap_25` and `scene_ap_50`, over the classes with an instance."""
    weights = scene_weights(len(ids))  # [R,S]
    scene_of = np.repeat(np.arange(len(ids)), [len(s.label) for s in scenes])
    label, place, score, right = (
        np.concatenate([getattr(s, name) for s in scenes])
        for name in ("label", "overlap", "score", "right")
    )
    missed = np.stack([s.missed for s in scenes])  # [S,K,T]
    instances = weights @ np.stack([s.instances for s in scenes])  # [R,K]
    ap = np.full((len(class_names), len(OVERLAPS), len(weights)), np.nan)  # [K,T,R]
    for k in np.flatnonzero(instances[0]):
        for t in range(len(OVERLAPS)):
            own = (label == k) & (place == t)
            found = scannet_ap(
                score[own], right[own], weights[:, scene_of[own]], weights @ missed[:, k, t]
            )
            ap[k, t] = np.where(instances[:, k] > 0, found, np.nan)
    columns = {"ap": ap[:, :-1].mean(1), "ap_50": ap[:, 0], "ap_25": ap[:, -1]}  # [K,R] each
    values = {
        name: SceneValues(mean_of_defined(column, axis=0), len(ids))
        for name, column in columns.items()
    }
    rows = class_rows(class_names, {name: column[:, 0] for name, column in columns.items()})
    return SceneScores(values, list(ids), "ap_50", rows)
