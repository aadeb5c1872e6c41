"""Classifiers on hand-made features: scores [n,K] of every class.

    chance, most_frequent_class      the same for every object
    nearest_box, nearest_histogram, nearest_chamfer   class of the nearest training object
    forest_on_box                    random forest on the three edges
    extra_trees_on_histogram         extra trees on sizes and histogram
    trees_and_neighbours             these plus the classes of the nearest by chamfer distance

Where no evaluated class occurs in training (held-out categories), the neighbours' texts are
compared with the class names instead (class_texts.py). Scores are 0 for classes without training
objects; among neighbours, a class's score is 1 / rank of its nearest object.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lavis.evaluation.baselines.class_texts import class_text_scores
from lavis.evaluation.baselines.forests import class_posterior
from lavis.evaluation.baselines.pool import Pool

Scores = dict[str, np.ndarray]
# val of bricks v2, top-1: trees alone 50.7; 5 neighbours with weight 0.1 52.6, 0.2 52.4, 0.5 50.3;
# 1 neighbour 0.1 52.2; 10 neighbours 0.1 51.7.
K_VOTES = 5
VOTE_WEIGHT = 0.1


def class_baselines(pool: Pool, class_names: Sequence[str]) -> Scores:
    """Return {baseline: scores float64 [n,K]} for the pool's evaluated objects.

    Args:
        pool: its training records have `category`, written as in `class_names`.
        class_names: the K classes.
    """
    label_of = {name.lower(): k for k, name in enumerate(class_names)}
    labels = np.array(
        [label_of.get(str(e.get("category", "")).lower(), -1) for e in pool.train], dtype=np.int64
    )
    if (labels < 0).all():
        return class_text_scores(pool, class_names)
    counts = np.bincount(labels[labels >= 0], minlength=len(class_names)).astype(np.float64)
    counts -= np.arange(len(class_names)) * 1e-6  # of equally frequent classes the first
    found = {"most_frequent_class": np.tile(counts, (len(pool.object_ids), 1))}
    if not pool.train_ids:
        return found
    object_labels = labels_of_objects(pool, labels)
    for name, order in pool.orders.items():
        found[name] = neighbour_scores(order, object_labels, len(class_names))
    found |= forest_scores(pool, object_labels, class_names)
    if pool.best_order is not None and "extra_trees_on_histogram" in found:
        near = neighbour_votes(pool.best_order[:, :K_VOTES], object_labels, len(class_names))
        found["trees_and_neighbours"] = found["extra_trees_on_histogram"] + VOTE_WEIGHT * near
    return found


def labels_of_objects(pool: Pool, labels: np.ndarray) -> np.ndarray:
    """Return the label of each of the m training objects, -1 for a class that is not scored."""
    first: dict[str, int] = {}
    for entry, label in zip(pool.train, labels.tolist(), strict=True):
        first.setdefault(str(entry.get("object_id")), label)
    return np.array([first[i] for i in pool.train_ids], dtype=np.int64)


def neighbour_scores(order: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Return 1 / rank of each class's nearest training object: [n,K], 0 without one.

    Args:
        order: int [n,m], training objects from near to far.
        labels: int [m], -1 for other classes.
    """
    scores = np.zeros((len(order), n_classes))
    ranks = np.argsort(order, axis=1) + 1  # [n,m] rank of each training object
    for label in range(n_classes):
        members = np.flatnonzero(labels == label)
        if len(members):
            scores[:, label] = 1.0 / ranks[:, members].min(axis=1)
    return scores


def neighbour_votes(near: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Return the share of each class among neighbours [n,k], weighted by 1 / rank: [n,K]."""
    weights = 1.0 / np.arange(1, near.shape[1] + 1)
    votes = np.zeros((len(near), n_classes))
    for place, weight in enumerate(weights / weights.sum()):
        rows = np.flatnonzero(labels[near[:, place]] >= 0)
        votes[rows, labels[near[rows, place]]] += weight
    return votes


def forest_scores(pool: Pool, labels: np.ndarray, class_names: Sequence[str]) -> Scores:
    """Return the posteriors of the forest on edges and of the extra trees on all but colours."""
    known, asked = pool.train_features, pool.features
    if known is None or asked is None:
        return {}
    tables = {}
    if known.log_boxes is not None and asked.log_boxes is not None:
        tables["forest_on_box"] = ("random_forest", known.log_boxes, asked.log_boxes)
    if pool.shape_tables is not None and known.histograms is not None:
        tables["extra_trees_on_histogram"] = ("extra_trees", *pool.shape_tables)
    rows = np.flatnonzero(labels >= 0)
    column = {name: k for k, name in enumerate(class_names)}
    found = {}
    for name, (kind, train, wanted) in tables.items():
        texts = [class_names[label] for label in labels[rows].tolist()]
        names, posterior = class_posterior(kind, train[rows], texts, wanted)
        found[name] = np.zeros((len(wanted), len(class_names)))
        found[name][:, [column[label] for label in names]] = posterior
    return found
