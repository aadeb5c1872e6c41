"""Captioners that cannot write: they copy training captions, or fill in a template.

    nearest_box, nearest_histogram, nearest_chamfer   caption of the nearest training object
    consensus           of k neighbours' captions the one most similar to the others
    consensus_own_size  the same with its footprint replaced by the object's rounded box
    template            class by a forest on the features, and the rounded box
    random_training_caption

Where texts name the colour, every copy and template names the colour of the object itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lavis.evaluation.baselines.chance import random_captions
from lavis.evaluation.baselines.colors import own_colors, recolor, with_article
from lavis.evaluation.baselines.footprints import FOOTPRINT, footprint, with_own_size
from lavis.evaluation.baselines.forests import class_posterior
from lavis.evaluation.baselines.pool import Entry, Pool
from lavis.evaluation.baselines.text_index import TextIndex, consensus

Captions = dict[str, str]
K_CONSENSUS = 10
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
    """Return the copied captions and the template, with own colours."""
    chosen = {name: order[:, 0] for name, order in pool.orders.items()}
    best = next((n for n in ("nearest_chamfer", "nearest_histogram") if n in chosen), None)
    if best is not None:
        near = pool.orders[best][:, :K_CONSENSUS]
        chosen["consensus"] = consensus(TextIndex(texts, longest=4).vectors, near)
    own = _own_color(pool, first, texts)
    found = {
        name: {i: own(i, int(k)) for i, k in zip(pool.object_ids, rows, strict=True)}
        for name, rows in chosen.items()
    }
    boxes = pool.features.boxes if pool.features is not None else None
    if boxes is None or not names_footprints(texts):
        return found
    if "consensus" in found:
        found["consensus_own_size"] = {
            i: with_own_size(text, box)
            for (i, text), box in zip(found["consensus"].items(), boxes, strict=True)
        }
    return found | _templates(pool, first, texts, boxes)


def _own_color(pool: Pool, first: list[int], texts: list[str]) -> Callable[[str, int], str]:
    """Return what copies training text k for an object, in the object's colour if texts name it."""
    records = [pool.train[k] for k in first]
    colors = own_colors(pool, records, texts)
    if colors is None:
        return lambda object_id, k: texts[k]
    return lambda object_id, k: recolor(texts[k], str(records[k]["color"]), colors[object_id])


def names_footprints(texts: Sequence[str]) -> bool:
    """Return whether the texts name footprints in whole studs."""
    return bool(np.mean([FOOTPRINT.search(text) is not None for text in texts]) >= FOOTPRINT_SHARE)


def _templates(
    pool: Pool, first: list[int], texts: list[str], boxes: np.ndarray
) -> dict[str, Captions]:
    """Return "<class> <footprint>" ("a <colour> <class> <footprint>" where texts name colours)."""
    records = [pool.train[k] for k in first]
    if pool.shape_tables is None or not all(entry.get("category") for entry in records):
        return {}
    labels = [str(entry["category"]) for entry in records]
    names, posterior = class_posterior(
        "extra_trees", pool.shape_tables[0], labels, pool.shape_tables[1]
    )
    sized = [f"{names[k]} {footprint(b)}" for k, b in zip(posterior.argmax(axis=1), boxes)]
    colors = own_colors(pool, records, texts)
    if colors is not None:
        words = [colors[i] for i in pool.object_ids]
        sized = [f"{with_article(word)} {text}" for word, text in zip(words, sized)]
    return {"template": dict(zip(pool.object_ids, sized, strict=True))}
