"""Selection of the examples of a report: drawn with a seed, regardless of correctness."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from lavis.evaluation.captioning import caption_scores

Entry = dict[str, Any]
Item = TypeVar("Item")
THIRDS = ("best third", "middle third", "worst third")
FOUND_WITHIN = 5


def draw(pool: Sequence[Item], count: int, rng: np.random.Generator) -> list[Item]:
    """Draw without replacement and keep the pool's order; all of it when it is small."""
    if not pool:
        return []
    taken = rng.choice(len(pool), size=min(count, len(pool)), replace=False)
    return [pool[index] for index in sorted(taken.tolist())]


def half_and_half(
    entries: Sequence[Entry], is_good: Callable[[Entry], bool], count: int, seed: int
) -> list[Entry]:
    """Draw as many good entries as bad ones; where one kind is short the other fills up."""
    rng = np.random.default_rng(seed)
    good = [entry for entry in entries if is_good(entry)]
    bad = [entry for entry in entries if not is_good(entry)]
    n_good = max((count + 1) // 2, count - len(bad))
    chosen = draw(good, n_good, rng)
    return chosen + draw(bad, count - len(chosen), rng)


def caption_examples(
    entries: Sequence[Entry], count: int, seed: int
) -> list[tuple[Entry, float, str]]:
    """Draw the same number from the best, middle and worst third by CIDEr.

    Returns:
        (entry, its CIDEr, name of its third), best third first.
    """
    scores = caption_scores(
        {entry["image_id"]: entry["caption"] for entry in entries},
        {e["image_id"]: e.get("references", [e["2d_caption"]]) for e in entries},
    )
    # Without a CIDEr (one object, equal references) examples are in the order of their ids.
    values = scores.per_item.get("cider", np.zeros(len(scores.ids)))
    cider = dict(zip(scores.ids, values.tolist()))
    ranked = sorted(entries, key=lambda entry: (-cider[entry["image_id"]], str(entry["image_id"])))
    bounds = [round(part * len(ranked) / 3) for part in range(4)]
    rng = np.random.default_rng(seed)
    return [
        (entry, cider[entry["image_id"]], name)
        for name, low, high in zip(THIRDS, bounds, bounds[1:])
        for entry in draw(ranked[low:high], count // 3, rng)
    ]


def retrieval_examples(
    entries: Sequence[Entry], rank_key: str, count: int, seed: int
) -> list[Entry]:
    """Half of the queries with the right answer among the first 5, half without."""
    return half_and_half(entries, lambda entry: entry[rank_key] <= FOUND_WITHIN, count, seed)


def qa_examples(entries: Sequence[Entry], seed: int) -> list[Entry]:
    """One question answered rightly and one wrongly of each family, where there are such."""
    chosen = []
    for number, family in enumerate(sorted({entry["family"] for entry in entries})):
        own = [entry for entry in entries if entry["family"] == family]
        chosen += half_and_half(own, lambda entry: bool(entry["correct"]), 2, seed + number)
    return chosen


def classification_examples(entries: Sequence[Entry], count: int, seed: int) -> list[Entry]:
    """Half of the objects classified rightly, half wrongly."""
    return half_and_half(entries, lambda entry: entry["prediction"] == entry["label"], count, seed)
