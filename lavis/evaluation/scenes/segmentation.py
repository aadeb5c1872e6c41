"""Semantic segmentation of scenes: mIoU, mean and overall accuracy, per class and by groups.

As ScanNet's script, counts are summed over the scenes before they are divided, and points without a
label do not count. The mean is over the classes that occur among the labels of the split; a class
that is predicted only costs the classes of its points. So all models share one set of classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lavis.common.errors import EvaluationError
from lavis.evaluation.scenes.resampling import (
    SceneScores,
    SceneValues,
    class_rows,
    mean_of_defined,
    scene_weights,
)

NONE_LABELLED = "no point of the split has a label of the class or group"


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Count points by label (row) and prediction (column): int64 [K,K].

    Args:
        labels: [N], 0 to K-1; -1: none, left out.
        predicted: [N], 0 to K-1.
        classes: K.

    Raises:
        EvaluationError: different lengths, or a label or prediction outside the set.
    """
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    kept = labels != -1
    bad = (labels < -1) | (labels >= classes) if len(labels) == len(predicted) else None
    if bad is None or bad.any() or ((predicted < 0) | (predicted >= classes))[kept].any():
        raise EvaluationError(
            "labels and predictions of points do not fit the classes",
            got=f"{len(labels)} labels {_range(labels)}, "
            f"{len(predicted)} predictions {_range(predicted)}",
            expected=f"one each per point, 0 to {classes - 1}; label -1 for none",
        )
    pairs = labels[kept].astype(np.int64) * classes + predicted[kept]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def _range(values: np.ndarray) -> str:
    return f"from {values.min()} to {values.max()}" if len(values) else "(none)"


def segmentation_scores(
    confusions: np.ndarray,
    ids: Sequence[str],
    class_names: Sequence[str],
    groups: Mapping[str, Sequence[int]] | None = None,
) -> SceneScores:
    """Score the confusions of scenes.

    Args:
        confusions: int [S,K,K], row label, column prediction.
        ids: of the scenes.
        class_names: K names.
        groups: {name: classes}; adds `miou/<name>` each. Of seen and held_out classes also
            `harmonic_iou`, the harmonic mean of their mIoU.

    Returns:
        `miou`, `macc`, `accuracy`, those of groups, and `scene_miou`.
    """
    counts = np.stack(
        [
            confusions.diagonal(axis1=1, axis2=2),
            confusions.sum(axis=2),
            confusions.sum(axis=1),
        ],
        axis=1,
    ).astype(np.float64)  # [S,3,K]
    totals = np.einsum("rs,sck->crk", scene_weights(len(ids)), counts)  # [3,1+S+R,K]
    iou, recall = _ratios(*totals)
    rows = {"miou": mean_of_defined(iou), "macc": mean_of_defined(recall)}
    labelled = totals[1].sum(-1)
    rows["accuracy"] = np.where(labelled > 0, totals[0].sum(-1) / np.maximum(labelled, 1), np.nan)
    for name, classes in (groups or {}).items():
        rows[f"miou/{name}"] = mean_of_defined(iou[:, list(classes)])
    if {"seen", "held_out"} <= set(groups or {}):
        rows["harmonic_iou"] = harmonic(rows["miou/seen"], rows["miou/held_out"])
    per_class = class_rows(class_names, {"iou": iou[0], "accuracy": recall[0]})
    values = {name: SceneValues(row, len(ids)) for name, row in rows.items()}
    return SceneScores(values, list(ids), "miou", per_class)


def _ratios(
    right: np.ndarray, labelled: np.ndarray, predicted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return intersection over union and recall of each class; NaN where no point has its label."""
    occurs = labelled > 0
    union = np.where(occurs, labelled + predicted - right, 1)
    return (
        np.where(occurs, right / union, np.nan),
        np.where(occurs, right / np.where(occurs, labelled, 1), np.nan),
    )


def harmonic(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the harmonic mean; 0 where both are."""
    return 2 * a * b / np.where(a + b > 0, a + b, 1)


def chance_confusions(confusions: np.ndarray) -> np.ndarray:
    """Return the expected counts when every label is guessed with equal probability: [S,K,K]."""
    classes = confusions.shape[-1]
    return np.repeat(confusions.sum(axis=-1, keepdims=True) / classes, classes, axis=-1)
