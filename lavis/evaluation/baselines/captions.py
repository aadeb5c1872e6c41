"""Caption baselines that copy training captions or fill in a template.

    nearest_box, nearest_histogram, nearest_chamfer   caption of the nearest training object
    consensus           of k neighbours' captions the one most similar to the others
    neighbour_and_forest   of 64 neighbours the one that is near and of the class that a forest sees
    ..._own_size        the same copy with its footprint replaced by the object's rounded box
    template            class by a forest on the features, and the rounded box where texts have one
    random_training_caption

Where texts name the colour, every copy and template names the colour of the object itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lavis.datasets.footprints import FOOTPRINT, UNIT, footprint, with_own_size
from lavis.datasets.scene_text import with_article
from lavis.evaluation.baselines.chance import random_captions
from lavis.evaluation.baselines.colors import own_colors, recolor
from lavis.evaluation.baselines.forests import class_posterior
from lavis.evaluation.baselines.neighbours import SURVIVORS
from lavis.evaluation.baselines.pool import Entry, Pool
from lavis.evaluation.baselines.text_index import TextIndex, consensus

Captions = dict[str, str]
# val of bricks v2 (596 objects), CIDEr of the consensus of k: 3 88.9, 4 88.0, 5 84.0, 10 71.0; the
# nearest alone 108.0. Each with its own size: 97.5, 96.6, 91.5, 78.6; 112.6.
K_CONSENSUS = 3
# Weight of the forest's log vote beside the log rank; CIDEr with own size: 0 112.6, 0.2 113.5,
# 0.5 117.1, 1 116.9, 2 115.5, 10 106.4.
FOREST_WEIGHT = 0.5
RESIZED = ("nearest_chamfer", "consensus", "neighbour_and_forest")
# Share of training texts with a footprint, for "the unit is the stud and texts name it".
FOOTPRINT_SHARE = 0.2


def caption_baselines(
    pool: Pool, text_field: str = "caption", seed: int = 0
) -> dict[str, Captions]:
    """Return {baseline: {object id: caption}} for the pool's evaluated objects.

    Args:
        pool: its training records have `object_id` and texts.
        text_field: field of the evaluated texts; records without it are read from `caption`.
        seed: of the random captions.
    """
    if not pool.train:
        return {}
    texts = [training_text(entry, text_field) for entry in pool.train]
    drawn = random_captions(texts, len(pool.object_ids), seed=seed)
    found = {"random_training_caption": dict(zip(pool.object_ids, drawn, strict=True))}
    first = first_records(pool)
    if first is not None:
        found |= _copies(pool, first, [texts[k] for k in first])
    return found


def training_text(entry: Entry, text_field: str) -> str:
    """Return the text of a training record."""
    return str(entry.get(text_field) or entry["caption"])


def first_records(pool: Pool) -> list[int] | None:
    """Return for each of the m training objects its first record; None without objects."""
    if not pool.train_ids:
        return None
    first: dict[str, int] = {}
    for number, entry in enumerate(pool.train):
        first.setdefault(str(entry.get("object_id")), number)
    return [first[i] for i in pool.train_ids]


def _copies(pool: Pool, first: list[int], texts: list[str]) -> dict[str, Captions]:
    """Return the copied captions and the template, with own colours and own sizes."""
    records = [pool.train[k] for k in first]
    chosen = chosen_rows(pool, records, texts)
    own = _own_color(pool, records, texts)
    found = {
        name: {i: own(i, int(k)) for i, k in zip(pool.object_ids, rows, strict=True)}
        for name, rows in chosen.items()
    }
    boxes = footprint_boxes(pool, texts)
    sized = {} if boxes is None else _own_sizes(found, boxes)
    return found | sized | _templates(pool, records, texts, boxes)


def _own_sizes(found: dict[str, Captions], boxes: np.ndarray) -> dict[str, Captions]:
    """Return copies with the footprint of each object's own box [n,3]."""
    return {
        f"{name}_own_size": {
            i: with_own_size(text, box) for (i, text), box in zip(found[name].items(), boxes)
        }
        for name in RESIZED
        if name in found
    }


def chosen_rows(pool: Pool, records: list[Entry], texts: list[str]) -> dict[str, np.ndarray]:
    """Return {baseline: row of the training object whose caption is copied, int [n]}."""
    chosen = {name: order[:, 0] for name, order in pool.orders.items()}
    if pool.best_order is None:
        return chosen
    near = pool.best_order
    chosen["consensus"] = consensus(TextIndex(texts, longest=4).vectors, near[:, :K_CONSENSUS])
    posterior = forest_posterior(pool, records)
    if posterior is not None:
        names, votes = posterior
        column = {name: k for k, name in enumerate(names)}
        labels = np.array([column[str(entry["category"])] for entry in records])  # [m]
        chosen["neighbour_and_forest"] = agreeing_neighbour(near[:, :SURVIVORS], labels, votes)
    return chosen


def agreeing_neighbour(near: np.ndarray, labels: np.ndarray, votes: np.ndarray) -> np.ndarray:
    """Choose the neighbour with the smallest log(rank) - weight * log(vote for its class): [n].

    Args:
        near: int [n,k], training objects from near to far.
        labels: int [m], class of each training object.
        votes: [n,K], class posterior of each evaluated object.
    """
    own = np.take_along_axis(votes, labels[near], axis=1)  # [n,k]
    cost = np.log(np.arange(1, near.shape[1] + 1)) - FOREST_WEIGHT * np.log(own + 1e-3)
    best = cost.round(9).argmin(axis=1)
    return np.take_along_axis(near, best[:, None], axis=1)[:, 0]


def forest_posterior(pool: Pool, records: list[Entry]) -> tuple[list[str], np.ndarray] | None:
    """Return class names (K) and the extra trees' posterior [n,K]; None without classes."""
    if pool.shape_tables is None or not all(entry.get("category") for entry in records):
        return None
    labels = [str(entry["category"]) for entry in records]
    train, asked = pool.shape_tables
    return class_posterior("extra_trees", train, labels, asked)


def _own_color(pool: Pool, records: list[Entry], texts: list[str]) -> Callable[[str, int], str]:
    """Return what copies training text k for an object, in the object's colour if texts name it."""
    colors = own_colors(pool, records, texts)
    if colors is None:
        return lambda object_id, k: texts[k]
    return lambda object_id, k: recolor(texts[k], str(records[k]["color"]), colors[object_id])


def footprint_boxes(pool: Pool, texts: Sequence[str]) -> np.ndarray | None:
    """Return boxes [n,3] in studs where the training texts name footprints; else None."""
    if pool.unit != UNIT or pool.features is None:
        return None
    share = np.mean([FOOTPRINT.search(text) is not None for text in texts])
    return pool.features.boxes if share >= FOOTPRINT_SHARE else None


def _templates(
    pool: Pool, records: list[Entry], texts: list[str], boxes: np.ndarray | None
) -> dict[str, Captions]:
    """Return "a <colour> <class> <footprint>": no colour or footprint where texts name none."""
    posterior = forest_posterior(pool, records)
    if posterior is None:
        return {}
    names, votes = posterior
    sized = [names[k] for k in votes.argmax(axis=1).tolist()]
    if boxes is not None:
        sized = [f"{text} {footprint(box)}" for text, box in zip(sized, boxes, strict=True)]
    colors = own_colors(pool, records, texts)
    if colors is not None:
        words = [colors[i] for i in pool.object_ids]
        sized = [f"{with_article(word)} {text}" for word, text in zip(words, sized)]
    return {"template": dict(zip(pool.object_ids, sized, strict=True))}
