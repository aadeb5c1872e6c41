"""Retrieval baselines from their definitions, with expected recalls where scores tie."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.recompute.caption_rules import class_votes, own_colors, train_ids
from benchmarks.recompute.captions import item_figures
from benchmarks.recompute.features import objects
from benchmarks.recompute.learners import TfIdf, bayes_posterior
from benchmarks.recompute.ledger import Figures
from benchmarks.recompute.neighbours import orders
from benchmarks.recompute.retrieval import CUTS, found_within
from benchmarks.recompute.runs import Data, Entries

LOOKUP = 5  # neighbours
CLASS_WEIGHT, SIZE_WEIGHT, COLOR_WEIGHT = 0.2, 0.2, 2.0
SIZE_WIDTH, NO_SIZE = 0.15, 0.2


def similarities(data: Data, texts: Mapping[str, str], field: str) -> dict[str, np.ndarray]:
    """Return {baseline: similarity [n,n] of objects and texts}.

    Args:
        texts: the text of each object of the gallery, as the model sees it.
        field: annotated field of the training texts.
    """
    train, ids = data.annotation("caption", "train"), list(texts)
    known, wanted = [str(entry[field]) for entry in train], [*texts.values()]
    near = orders(data, ids, train_ids(train))["nearest_chamfer"][:, :LOOKUP]
    classes = class_agreement(data, ids, train, known, wanted)
    lookup = looked_up(known, wanted, near)
    mixed = lookup + CLASS_WEIGHT * classes + SIZE_WEIGHT * size_agreement(data, ids, wanted)
    found = {"tfidf_lookup": lookup}
    if field == "colored_caption":
        color = color_agreement(data, ids, train, wanted)
        found |= {"colour_only": color, "colour_and_category": color + classes}
        mixed = mixed + COLOR_WEIGHT * color
    found["lookup_and_forest"] = mixed
    return {name: matrix.round(9) for name, matrix in found.items()}


def looked_up(known: Sequence[str], wanted: Sequence[str], near: np.ndarray) -> np.ndarray:
    """Return the cosines of texts and the neighbours' texts, weighted by 1 / rank: [n,T]."""
    index = TfIdf(known, longest=2, damped=True)
    cosines = (index(known) @ index(wanted).T).tocsr()  # [m,T]
    weights = 1 / np.arange(1, near.shape[1] + 1)
    return np.stack([weights @ cosines[few].toarray() for few in near]) / weights.sum()


def class_agreement(
    data: Data, ids: Sequence[str], train: Entries, known: Sequence[str], wanted: Sequence[str]
) -> np.ndarray:
    """Return the probability that object (forest) and text (Bayes) are of one class: [n,T]."""
    names, votes = class_votes(data, ids, train)
    labels = [str(entry["category"]) for entry in train]
    return votes @ bayes_posterior(known, labels, wanted, names).T


def size_agreement(data: Data, ids: Sequence[str], wanted: Sequence[str]) -> np.ndarray:
    """Return how well boxes fit the first footprint of each text: [n,T]."""
    ground = np.sort(objects(data, ids).boxes[:, [0, 2]], axis=1)
    sides = np.log(np.maximum(ground, 0.1))  # [n,2]
    columns = []
    for text in wanted:
        match = re.search(r"\b(\d+) x (\d+)\b", text)
        named = sorted(int(side) for side in match.groups()) if match else [0]
        agreement = np.full(len(ids), NO_SIZE)
        if named[0] > 0:
            agreement = np.exp(-np.abs(sides - np.log(named)).sum(axis=1) / SIZE_WIDTH)
        columns.append(agreement)
    return np.stack(columns, axis=1)


def color_agreement(
    data: Data, ids: Sequence[str], train: Entries, wanted: Sequence[str]
) -> np.ndarray:
    """Return 1 where the first colour word of a text is the object's own: [n,T]."""
    own = own_colors(data, objects(data, ids), train)
    words = sorted({str(entry["color"]) for entry in train}, key=len, reverse=True)
    pattern = re.compile(rf"\b(?:{'|'.join(map(re.escape, words))})\b")
    named = [match[0] if (match := pattern.search(text)) else "" for text in wanted]
    return np.array([[float(own[i] == word) for word in named] for i in ids])


def expected(scores: np.ndarray, right: np.ndarray) -> list[float]:
    """Return the expected recall at 1, 5, 10 of one query when ties are broken at random.

    Args:
        scores: [G].
        right: bool [G].
    """
    best = scores[right].max()
    before, tied = int((scores > best).sum()), scores == best
    pool, good = int(tied.sum()), int((tied & right).sum())
    return [found_within(good, pool, min(k - before, pool)) if k > before else 0.0 for k in CUTS]


def baseline_figures(data: Data, texts: Mapping[str, str], field: str) -> Figures:
    """Score every baseline in both directions, means and items."""
    listed = np.array([*texts.values()])
    right = listed[:, None] == listed[None, :]  # [n,n]
    figures: Figures = {}
    for name, matrix in similarities(data, texts, field).items():
        for direction, scores in (("object_to_text", matrix), ("text_to_object", matrix.T)):
            rows = [expected(row, own) for row, own in zip(scores, right)]
            for k, column in zip(CUTS, zip(*rows)):
                metric = f"{direction}/recall_at_{k}"
                figures["baselines", name, metric] = sum(column) / len(column)
                items = {metric: dict(zip(texts, column))}
                figures |= item_figures(("baseline_items", name), items)
    return figures
