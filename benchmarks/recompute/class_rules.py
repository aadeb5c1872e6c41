"""Classification baselines from their definitions: the best five classes of each object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.recompute.caption_rules import class_votes, train_ids
from benchmarks.recompute.classes import TOP
from benchmarks.recompute.features import objects
from benchmarks.recompute.learners import TfIdf, forest_votes
from benchmarks.recompute.neighbours import orders
from benchmarks.recompute.runs import Data, Entries
from benchmarks.recompute.sentences import sentence_vectors

TEXT_NEIGHBOURS = 10
VOTERS, VOTE_WEIGHT = 5, 0.1
Ranked = dict[str, list[str]]


def rankings(data: Data, right: Mapping[str, str], names: Sequence[str]) -> dict[str, Ranked]:
    """Return {baseline: {object: classes, best first}}; ties count against the baseline.

    Args:
        right: the class of each evaluated object.
        names: the classes that are scored.
    """
    train = data.annotation("class", "train")
    ids = list(right)
    known = {str(entry["category"]).lower() for entry in train}
    scores = trained(data, ids, train, names) if known & set(names) else named(data, ids, names)
    return {
        name: {i: pessimistic(row, names, right[i]) for i, row in zip(ids, matrix)}
        for name, matrix in scores.items()
    }


def pessimistic(scores: np.ndarray, names: Sequence[str], right: str) -> list[str]:
    """Return the classes by score, with the right one behind all that score the same."""
    keys = [(-score, name == right) for score, name in zip(scores.tolist(), names)]
    return [names[k] for k in sorted(range(len(names)), key=keys.__getitem__)][: max(TOP)]


def trained(
    data: Data, ids: Sequence[str], train: Entries, names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return {baseline: scores [n,K]} of classes that training has."""
    labels = [str(entry["category"]).lower() for entry in train]
    counts = Counter(labels)
    # Of equally frequent classes the first in the list.
    frequent = [counts[name] - 1e-6 * k for k, name in enumerate(names)]
    found = {"most_frequent_class": np.tile(frequent, (len(ids), 1))}
    near = orders(data, ids, train_ids(train))
    for name, order in near.items():
        found[name] = np.stack([nearest_of_class(row, labels, names) for row in order])
    rows = [k for k, label in enumerate(labels) if label in set(names)]
    known, asked = objects(data, train_ids(train)), objects(data, ids)
    tables = {
        "forest_on_box": ("random", known.log_boxes, asked.log_boxes),
        "extra_trees_on_histogram": (
            *("extra", known.forest_columns(False), asked.forest_columns(False)),
        ),
    }
    for name, (kind, table, wanted) in tables.items():
        numbers = [str(names.index(labels[k])) for k in rows]
        classes, votes = forest_votes(data, kind, table[rows], numbers, wanted)
        found[name] = np.zeros((len(ids), len(names)))
        for column, number in enumerate(classes):
            found[name][:, int(number)] = votes[:, column]
    few = near["nearest_chamfer"][:, :VOTERS]
    close = np.stack([closest_classes(row, labels, names) for row in few])
    found["trees_and_neighbours"] = found["extra_trees_on_histogram"] + VOTE_WEIGHT * close
    return found


def by_rank(n: int) -> np.ndarray:
    """Return weights in proportion to 1 / rank, of sum 1: [n]."""
    weights = 1 / np.arange(1, n + 1)
    return weights / weights.sum()


def closest_classes(few: np.ndarray, labels: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """Return the share of each class among a few neighbours, weighted by 1 / rank: [K]."""
    shares = dict.fromkeys(names, 0.0)
    for k, weight in zip(few.tolist(), by_rank(len(few))):
        if labels[k] in shares:
            shares[labels[k]] += float(weight)
    return np.array([*shares.values()])


def nearest_of_class(order: np.ndarray, labels: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """Return 1 / rank of the nearest training object of each class, 0 without one: [K]."""
    first: dict[str, int] = {}
    for rank, k in enumerate(order.tolist(), start=1):
        first.setdefault(labels[k], rank)
    return np.array([1 / first[name] if name in first else 0.0 for name in names])


def named(data: Data, ids: Sequence[str], names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the scores [n,K] of class names that training does not have.

    They are compared with the texts of the ten nearest objects, by words and by sentences, and with
    the classes that the forest votes for, by sentences.
    """
    train = data.annotation("class", "train")
    near = orders(data, ids, train_ids(train))["nearest_chamfer"][:, :TEXT_NEIGHBOURS]
    texts = [f"{entry['caption']} {entry['category']}".strip() for entry in train]
    index = TfIdf([*texts, *names], longest=1, damped=True)
    words = (index(texts) @ index(names).T).toarray()  # [m,K]
    sentences = sentence_vectors(data, [*texts, *names])
    wanted = sentences[len(texts) :]  # [K,E]
    known, votes = class_votes(data, ids, train)
    classes = sentence_vectors(data, known) @ wanted.T  # [C,K]
    weights = by_rank(near.shape[1])

    def of_neighbours(cosines: np.ndarray) -> np.ndarray:
        return np.stack([weights @ cosines[few] for few in near])

    scores = {
        "neighbour_words": of_neighbours(words),
        "neighbour_sentences": of_neighbours(sentences[: len(texts)] @ wanted.T),
        "forest_sentences": votes @ classes,
    }
    return {name: matrix.round(7) for name, matrix in scores.items()}
