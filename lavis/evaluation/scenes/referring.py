"""Referring segmentation: IoU of the mask of a sentence, and accuracy@0.25 and @0.5.

As in ScanRefer's and TGNN's evaluations, an item is one sentence; mIoU is the mean over sentences,
and accuracy@t the share of sentences whose mask overlaps the object's by more than t.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

ACCURACIES = {"accuracy_25": 0.25, "accuracy_50": 0.5}


def mask_iou(found: np.ndarray, target: np.ndarray) -> float:
    """Return the intersection over union of two masks bool [N]; 0 of two empty ones."""
    union = int((found | target).sum())
    return int((found & target).sum()) / union if union else 0.0


def referring_items(ious: Sequence[float]) -> dict[str, np.ndarray]:
    """Return per sentence `iou` and the accuracies, [N] each."""
    values = np.asarray(ious, dtype=np.float64)
    return {"iou": values} | {n: (values > t).astype(float) for n, t in ACCURACIES.items()}


def random_object(
    instance: np.ndarray, semantic: np.ndarray, target: int, labels: Sequence[int] | None = None
) -> Mapping[str, float]:
    """Return the expected scores of choosing one true mask at random.

    Args:
        instance, semantic: [N] labels of the points; -1: none.
        target: the instance that is meant.
        labels: classes of the candidates; None: every instance of the scene.
    """
    candidates = instance >= 0
    if labels is not None:
        candidates &= np.isin(semantic, labels)
    ids = np.unique(instance[candidates])
    share = float(target in ids) / len(ids) if len(ids) else 0.0
    return dict.fromkeys(("iou", *ACCURACIES), share)
