"""Caption baselines from their definitions: copies of training captions, and a template."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.recompute.features import Objects, objects, rounded_footprint
from benchmarks.recompute.learners import TfIdf, forest_votes
from benchmarks.recompute.neighbours import SURVIVORS, orders
from benchmarks.recompute.runs import Data, Entries

CONSENSUS = 3  # neighbours
FOREST_WEIGHT = 0.5
OWN_SIZE = ("nearest_chamfer", "consensus", "neighbour_and_forest")
Captions = dict[str, str]


def captions(data: Data, ids: Sequence[str], field: str, seed: int) -> dict[str, Captions]:
    """Return {baseline: {object: caption}}.

    Args:
        ids: the evaluated objects, sorted.
        field: annotated field of the texts.
        seed: the run's, of the random captions.
    """
    train = data.annotation("caption", "train")
    texts = [str(entry[field]) for entry in train]
    drawn = np.random.default_rng(seed).integers(0, len(texts), size=len(ids))
    found = {"random_training_caption": {i: texts[k] for i, k in zip(ids, drawn)}}
    own = objects(data, ids)
    colors = own_colors(data, own, train) if field == "colored_caption" else None
    for name, rows in chosen(data, ids, train, texts).items():
        found[name] = {i: texts[k] for i, k in zip(ids, rows)}
        if colors:
            found[name] = {
                i: recolored(texts[k], str(train[k]["color"]), colors[i]) for i, k in zip(ids, rows)
            }
    for name in OWN_SIZE:
        resized = {i: with_size(found[name][i], box) for i, box in zip(ids, own.boxes)}
        found[f"{name}_own_size"] = resized
    return found | {"template": templates(data, own, train, colors)}


def train_ids(train: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the distinct objects of training records, in their order."""
    return list(dict.fromkeys(str(entry["object_id"]) for entry in train))


def chosen(
    data: Data, ids: Sequence[str], train: Entries, texts: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return {baseline: training row whose caption is copied, int [n]}."""
    near = orders(data, ids, train_ids(train))
    best = near["nearest_chamfer"]
    found = {name: order[:, 0] for name, order in near.items()}
    found["consensus"] = most_typical(texts, best[:, :CONSENSUS])
    names, votes = class_votes(data, ids, train)
    labels = [names.index(str(entry["category"])) for entry in train]
    found["neighbour_and_forest"] = agreeing(best[:, :SURVIVORS], np.array(labels), votes)
    return found


def most_typical(texts: Sequence[str], near: np.ndarray) -> np.ndarray:
    """Return of each row's texts the one with the largest sum of cosines to all of them."""
    vectors = TfIdf(texts, longest=4, damped=True)(texts)
    rows = []
    for few in near:
        own = vectors[few].toarray()
        rows.append(few[(own @ own.sum(axis=0)).round(9).argmax()])
    return np.array(rows)


def agreeing(near: np.ndarray, labels: np.ndarray, votes: np.ndarray) -> np.ndarray:
    """Return of each row's neighbours the one with the least log rank - 0.5 log(vote)."""
    ranks = np.log(1.0 + np.arange(near.shape[1]))
    costs = [ranks - FOREST_WEIGHT * np.log(v[labels[few]] + 1e-3) for few, v in zip(near, votes)]
    return np.array([few[c.round(9).argmin()] for few, c in zip(near, costs)])


def class_votes(data: Data, ids: Sequence[str], train: Entries) -> tuple[list[str], np.ndarray]:
    """Return the classes (K) and the extra trees' votes for them [n,K], without colours."""
    known = objects(data, train_ids(train)).forest_columns(with_colors=False)
    labels = [str(entry["category"]) for entry in train]
    return forest_votes(data, "extra", known, labels, objects(data, ids).forest_columns(False))


def with_size(text: str, box: np.ndarray) -> str:
    """Replace the first footprint of a text by the rounded one of a box; the order stays."""
    match = re.search(r"\b(\d+) x (\d+)\b", text)
    if match is None:
        return text
    sides = rounded_footprint(box)
    first, second = sides if int(match[1]) <= int(match[2]) else sides[::-1]
    return f"{text[: match.start()]}{first} x {second}{text[match.end() :]}"


def article(word: str) -> str:
    """Return "a" or "an"."""
    return "an" if word[0] in "aeiou" else "a"


def own_colors(data: Data, own: Objects, train: Entries) -> Captions:
    """Return the colour word of each object: the nearest median of the training colours."""
    known = objects(data, train_ids(train)).colors
    words = sorted({str(entry["color"]) for entry in train})
    own_word = np.array([str(entry["color"]) for entry in train])
    medians = np.stack([np.median(known[own_word == word], axis=0) for word in words])
    gaps = ((own.colors[:, None] - medians) ** 2).sum(axis=2).round(9)  # [n,12]
    return {i: words[k] for i, k in zip(own.ids, gaps.argmin(axis=1))}


def recolored(text: str, old: str, new: str) -> str:
    """Replace the first colour word of a text, with its article."""
    match = re.search(rf"\b(?:(an?) )?{re.escape(old)}\b", text)
    if match is None:
        return text
    word = f"{article(new)} {new}" if match[1] else new
    return text[: match.start()] + word + text[match.end() :]


def templates(data: Data, own: Objects, train: Entries, colors: Captions | None) -> Captions:
    """Return "<class> <footprint>", behind "a <colour>" where texts name colours."""
    names, votes = class_votes(data, own.ids, train)
    start = {i: f"{article(word)} {word} " for i, word in (colors or {}).items()}
    sides = [rounded_footprint(box) for box in own.boxes]
    return {
        i: f"{start.get(i, '')}{names[k]} {short} x {long}"
        for i, k, (short, long) in zip(own.ids, votes.argmax(axis=1), sides)
    }
