"""ScanNet's evaluate_semantic_instance.py in plain loops on arrays: reference of the tests."""

from __future__ import annotations

import numpy as np

OVERLAPS = np.append(np.arange(0.5, 0.95, 0.05), 0.25)


def assign(semantic, instance, found, classes, least):
    """Instances and predictions of a scene by class, with their intersections."""
    gts = {k: [] for k in range(classes)}
    preds = {k: [] for k in range(classes)}
    for k in range(classes):
        for i in sorted(set(instance[(semantic == k) & (instance >= 0)])):
            mask = (semantic == k) & (instance == i)
            gts[k].append({"mask": mask, "vert_count": mask.sum(), "matched_pred": []})
    void = ~((semantic >= 0) & (instance >= 0))
    for number, (mask, label, score) in enumerate(zip(*found)):
        if mask.sum() < least:
            continue
        pred = {"name": number, "vert_count": mask.sum(), "confidence": score, "matched_gt": []}
        pred["void_intersection"] = (void & mask).sum()
        for gt in gts[label]:
            common = (gt["mask"] & mask).sum()
            if common > 0:
                pred["matched_gt"].append({"gt": gt, "intersection": common})
                gt["matched_pred"].append({"pred": pred, "intersection": common})
        preds[label].append(pred)
    return gts, preds


def average_precision(scenes, k, overlap, least):
    """AP of one class at one overlap over scenes [(gts, preds)]; NaN without an instance."""
    y_true, y_score, hard_false_negatives = [], [], 0
    has_gt = has_pred = False
    for gts, preds in scenes:
        visited = {p["name"]: False for p in preds[k]}
        large = [gt for gt in gts[k] if gt["vert_count"] >= least]
        has_gt |= bool(large)
        has_pred |= bool(preds[k])
        cur_true, cur_score = [1] * len(large), [-np.inf] * len(large)
        cur_match = [False] * len(large)
        for gti, gt in enumerate(large):
            found_match = False
            for match in gt["matched_pred"]:
                pred, common = match["pred"], match["intersection"]
                if visited[pred["name"]]:
                    continue
                iou = common / (gt["vert_count"] + pred["vert_count"] - common)
                if iou > overlap:
                    confidence = pred["confidence"]
                    if cur_match[gti]:
                        high = max(cur_score[gti], confidence)
                        low = min(cur_score[gti], confidence)
                        cur_score[gti] = high
                        cur_true.append(0)
                        cur_score.append(low)
                        cur_match.append(True)
                    else:
                        found_match = cur_match[gti] = True
                        cur_score[gti] = confidence
                        visited[pred["name"]] = True
            hard_false_negatives += not found_match
        cur_true = [t for t, m in zip(cur_true, cur_match) if m]
        cur_score = [s for s, m in zip(cur_score, cur_match) if m]
        for pred in preds[k]:
            found_gt = False
            for match in pred["matched_gt"]:
                gt, common = match["gt"], match["intersection"]
                if common / (gt["vert_count"] + pred["vert_count"] - common) > overlap:
                    found_gt = True
            if not found_gt:
                ignore = pred["void_intersection"]
                for match in pred["matched_gt"]:
                    if match["gt"]["vert_count"] < least:
                        ignore += match["intersection"]
                if ignore / pred["vert_count"] <= overlap:
                    cur_true.append(0)
                    cur_score.append(pred["confidence"])
        y_true += cur_true
        y_score += cur_score
    if not has_gt:
        return float("nan")
    if not has_pred or not y_score:
        return 0.0
    return area(np.array(y_true, float), np.array(y_score), hard_false_negatives)


def area(y_true, y_score, hard_false_negatives):
    """The script's precision-recall curve and its area."""
    order = np.argsort(y_score)
    y_score, y_true = y_score[order], y_true[order]
    cumsum = np.cumsum(y_true)
    _, unique = np.unique(y_score, return_index=True)
    precision, recall = np.zeros(len(unique) + 1), np.zeros(len(unique) + 1)
    num_true = cumsum[-1]
    cumsum = np.append(cumsum, 0)
    for place, index in enumerate(unique):
        below = cumsum[index - 1]
        tp = num_true - below
        fp = len(y_score) - index - tp
        fn = below + hard_false_negatives
        precision[place] = tp / (tp + fp)
        recall[place] = tp / (tp + fn)
    precision[-1], recall[-1] = 1.0, 0.0
    padded = np.append(np.append(recall[0], recall), 0.0)
    return np.dot(precision, np.convolve(padded, [-0.5, 0, 0.5], "valid"))


def scannet_instance_scores(scenes, classes, least):
    """{ap, ap_50, ap_25} of scenes [(semantic, instance, (masks, labels, scores))]."""
    matched = [assign(*scene, classes, least) for scene in scenes]
    table = np.array(
        [[average_precision(matched, k, o, least) for o in OVERLAPS] for k in range(classes)]
    )
    return {
        "ap": np.nanmean(table[:, :-1]),
        "ap_50": np.nanmean(table[:, 0]),
        "ap_25": np.nanmean(table[:, -1]),
    }
