"""Average precision of ranked predictions, for any number of weightings of the scenes at once.

References: ScanNet's evaluate_semantic_instance.py (trapezoids between thresholds, an artificial
point of precision 1 at recall 0); VoteNet's eval_det.py (PASCAL VOC's area under the envelope).
"""

from __future__ import annotations

import numpy as np


def _ranked(
    score: np.ndarray, right: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return scores from high to low, and cumulated right and all predictions [R,n]."""
    order = np.argsort(-score, kind="stable")
    weight = weight[:, order]
    return score[order], (weight * right[order]).cumsum(1), weight.cumsum(1)


def scannet_ap(
    score: np.ndarray, right: np.ndarray, weight: np.ndarray, missed: np.ndarray
) -> np.ndarray:
    """Return ScanNet's average precision [R].

    Args:
        score: [n] of matched instances and false predictions.
        right: bool [n].
        weight: [R,n], how often each counts.
        missed: [R], instances without a prediction.
    """
    if not len(score):
        return np.zeros(len(missed))
    score, hits, total = _ranked(score, right, weight)
    last = np.append(score[1:] != score[:-1], True)  # one point per distinct score
    hits, total = hits[:, last], total[:, last]
    precision = np.where(total > 0, hits / np.where(total > 0, total, 1), 1.0)
    known = hits[:, -1:] + missed[:, None]
    recall = hits / np.where(known > 0, known, 1)  # [R,U]
    padded = np.concatenate([np.zeros_like(recall[:, :1]), recall, recall[:, -1:]], axis=1)
    steps = (padded[:, 2:] - padded[:, :-2]) / 2
    return (precision * steps).sum(1) + recall[:, 0] / 2


def voc_ap(
    score: np.ndarray, right: np.ndarray, weight: np.ndarray, annotated: np.ndarray
) -> np.ndarray:
    """Return PASCAL VOC's average precision [R].

    Args:
        score: [n] of the predictions.
        right: bool [n].
        weight: [R,n], how often each counts.
        annotated: [R], objects of the class.
    """
    if not len(score):
        return np.zeros(len(annotated))
    _, hits, total = _ranked(score, right, weight)
    precision = hits / np.where(total > 0, total, 1)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    recall = hits / np.where(annotated > 0, annotated, 1)[:, None]
    steps = np.diff(recall, axis=1, prepend=0.0)
    return (steps * envelope).sum(1)
