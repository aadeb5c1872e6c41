"""VoteNet's eval_det.py in plain loops (the reference of the tests); overlap by sampled volume is
in test_boxes.py, here it is passed in."""

from __future__ import annotations

import numpy as np


def voc_ap(recall, precision):
    """PASCAL VOC's area under the envelope."""
    mrec = np.concatenate([[0.0], recall, [1.0]])
    mpre = np.concatenate([[0.0], precision, [0.0]])
    for i in range(mpre.size - 1, 0, -1):
        mpre[i - 1] = max(mpre[i - 1], mpre[i])
    change = np.where(mrec[1:] != mrec[:-1])[0]
    return np.sum((mrec[change + 1] - mrec[change]) * mpre[change + 1])


def class_ap(scenes, k, threshold, iou):
    """AP of a class over scenes [(boxes, labels, found, found_labels, scores)]; NaN without box."""
    truth = [[b for b, label in zip(s[0], s[1]) if label == k] for s in scenes]
    taken = [[False] * len(boxes) for boxes in truth]
    ranked = [
        (-score, number, box)
        for number, s in enumerate(scenes)
        for box, label, score in zip(s[2], s[3], s[4])
        if label == k
    ]
    ranked.sort(key=lambda row: row[0])
    count = sum(map(len, truth))
    if not count:
        return float("nan")
    if not ranked:
        return 0.0
    tp, fp = np.zeros(len(ranked)), np.zeros(len(ranked))
    for d, (_, number, box) in enumerate(ranked):
        best, place = -np.inf, None
        for j, other in enumerate(truth[number]):
            overlap = iou(box, other)
            if overlap > best:
                best, place = overlap, j
        if best > threshold and not taken[number][place]:
            tp[d] = 1.0
            taken[number][place] = True
        else:
            fp[d] = 1.0
    tp, fp = np.cumsum(tp), np.cumsum(fp)
    return voc_ap(tp / count, tp / np.maximum(tp + fp, np.finfo(np.float64).eps))


def votenet_map(scenes, classes, threshold, iou):
    """Mean over the classes with a box."""
    return np.nanmean([class_ap(scenes, k, threshold, iou) for k in range(classes)])
