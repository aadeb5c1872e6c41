"""Baseline of detection: the boxes of the training scene of the most similar size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lavis.datasets.fields.boxes import boxes_of
from lavis.datasets.samples import Sample


class LayoutBaseline:
    """Copy a layout.

    Args:
        scenes: of training, with semantic_label and instance_label.
        classes: number of classes; objects of others are left out.
    """

    def __init__(self, scenes: Sequence[Sample], classes: int) -> None:
        self.sizes = np.array([np.ptp(scene["xyz"], axis=0) for scene in scenes])
        names = ("xyz", "semantic_label", "instance_label")
        found = [boxes_of(*(scene[name] for name in names)) for scene in scenes]
        self.middles = [_middle(scene["xyz"]) for scene in scenes]
        parts = [(one["boxes"].numpy(), one["box_label"].numpy()) for one in found]
        self.layouts = [(b[labels < classes], labels[labels < classes]) for b, labels in parts]
        every = np.concatenate([labels for _, labels in self.layouts])
        self.shares = np.bincount(every, minlength=classes) / max(len(every), 1)

    def nearest(self, xyz: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return boxes [P,6], labels [P] and scores [P] for a scene of points [N,3].

        The layout is stretched to the size of the scene; a score is the share of the class among
        the objects of training.
        """
        size = np.maximum(np.ptp(xyz, axis=0), 1e-6)
        row = int(np.abs(np.log(np.maximum(self.sizes, 1e-6) / size)).sum(1).argmin())
        boxes, labels = self.layouts[row]
        stretch = size / np.maximum(self.sizes[row], 1e-6)
        centres = (boxes[:, :3] - self.middles[row]) * stretch + _middle(xyz)
        return np.concatenate([centres, boxes[:, 3:]], axis=1), labels, self.shares[labels]


def _middle(xyz: np.ndarray) -> np.ndarray:
    return (xyz.min(axis=0) + xyz.max(axis=0)) / 2
