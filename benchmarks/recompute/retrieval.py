"""Retrieval scores from the ranks in the prediction file, and the exact chance.

The prediction file holds `<direction>_rank` of each item, and may hold `<direction>_precision`, the
average precision. Without it the precision follows from the rank only where no two items share a
caption: then it is 1 / rank.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping

from benchmarks.recompute.captions import interval_figures, item_figures, text_field
from benchmarks.recompute.ledger import Figures
from benchmarks.recompute.resampling import intervals, median_interval
from benchmarks.recompute.runs import Data, Run
from benchmarks.recompute.words import cleaned

CUTS = (1, 5, 10)
RANK = "_rank"


def texts_of(run: Run, data: Data) -> dict[str, str]:
    """Return the annotated caption of each object of the gallery, cleaned as the model sees it."""
    name = text_field(run, data)
    known = {str(e["object_id"]): cleaned(str(e[name])) for e in data.of(run)}
    return {i: known[i] for i in (str(p["instance_id"]) for p in run.predictions)}


def directions(run: Run) -> list[str]:
    """Return the directions whose ranks are in the prediction file."""
    keys = run.predictions[0] if run.predictions else {}
    return [key.removesuffix(RANK) for key in keys if key.endswith(RANK)]


def recall_items(ranks: Mapping[str, int]) -> dict[str, dict[str, float]]:
    """Return whether each query found a right item among the first k."""
    return {f"recall_at_{k}": {i: float(r <= k) for i, r in ranks.items()} for k in CUTS}


def direction_figures(name: str, ranks: Mapping[str, int]) -> Figures:
    """Return recalls and ranks of one direction, with intervals."""
    items = {f"{name}/{metric}": values for metric, values in recall_items(ranks).items()}
    listed = list(ranks.values())
    values = {metric: sum(rows.values()) / len(rows) for metric, rows in items.items()}
    values |= {
        f"{name}/median_rank": float(statistics.median(listed)),
        f"{name}/mean_rank": sum(listed) / len(listed),
    }
    found = intervals(
        {metric: [*rows.values()] for metric, rows in items.items()}
        | {f"{name}/mean_rank": [float(rank) for rank in listed]}
    )
    found[f"{name}/median_rank"] = median_interval([float(rank) for rank in listed])
    return {
        **{("metrics", metric, "value"): value for metric, value in values.items()},
        **interval_figures(found),
        **item_figures(("items",), items),
    }


def precision_figures(name: str, precision: Mapping[str, float]) -> Figures:
    """Return the mean average precision of one direction, with its interval."""
    metric, values = f"{name}/mean_average_precision", [*precision.values()]
    figures = interval_figures(intervals({metric: values}))
    return figures | {("metrics", metric, "value"): sum(values) / len(values)}


def precisions(run: Run, name: str, ranks: Mapping[str, int], unique: bool) -> dict[str, float]:
    """Return the average precision of each query; empty where the file does not give it."""
    key = f"{name}_precision"
    if run.predictions and key in run.predictions[0]:
        return {str(p["instance_id"]): float(p[key]) for p in run.predictions}
    return {i: 1 / rank for i, rank in ranks.items()} if unique else {}


def from_predictions(run: Run, data: Data) -> Figures:
    """Recompute the scores of a retrieval run from what it wrote."""
    texts = texts_of(run, data)
    unique = len(set(texts.values())) == len(texts)
    found: Figures = {("n_scored",): len(texts), ("extra", "gallery"): len(texts)}
    for name in directions(run):
        ranks = {str(p["instance_id"]): int(p[name + RANK]) for p in run.predictions}
        found |= direction_figures(name, ranks)
        precision = precisions(run, name, ranks, unique)
        found |= precision_figures(name, precision) if precision else {}
    return found


def lists_agree(run: Run, data: Data) -> Figures:
    """Return for each item whether its ranks fit its lists of the best ten.

    Ranks count ties against the model, lists do not: the first right entry of a list cannot come
    behind the rank, and a rank within the list has a right entry.
    """
    texts = texts_of(run, data)
    found: Figures = {}
    for entry in run.predictions:
        own = texts[str(entry["instance_id"])]
        listed = {
            "object_to_text": entry["top_captions"],
            "text_to_object": [texts[i] for i in entry["top_objects"]],
        }
        for name, shown in listed.items():
            rank = int(entry[name + RANK])
            place = shown.index(own) + 1 if own in shown else len(shown) + 1
            found["lists", name, str(entry["instance_id"])] = place <= rank
    return found


def chance_figures(run: Run, data: Data, names: list[str]) -> Figures:
    """Return the expected scores of a random ranking in each direction."""
    texts = texts_of(run, data)
    sizes = Counter(texts.values())
    values = chance(Counter(sizes[text] for text in texts.values()), len(texts))
    return {
        ("baselines", "chance", f"{name}/{metric}"): value
        for name in names
        for metric, value in values.items()
    }


def found_within(right: int, gallery: int, k: int) -> float:
    """Return the chance that one of the right items is among the first k of a random order."""
    return 1 - math.comb(gallery - right, k) / math.comb(gallery, k)


def chance(positives: Mapping[int, int], gallery: int) -> dict[str, float]:
    """Return the expectations over a random order of the gallery, counted out.

    Args:
        positives: {number of right items: number of queries that have so many}.
        gallery: number of items.
    """
    queries = sum(positives.values())

    def mean(value: Mapping[int, float]) -> float:
        return sum(positives[right] * value[right] for right in positives) / queries

    def recall(k: int) -> float:
        return mean({right: found_within(right, gallery, min(k, gallery)) for right in positives})

    def precision(right: int) -> float:
        # The item at rank k is right with probability right / gallery; k - 1 are before it.
        others = (right - 1) / max(gallery - 1, 1)
        return sum((1 + (k - 1) * others) / k for k in range(1, gallery + 1)) / gallery

    return {
        **{f"recall_at_{k}": recall(k) for k in CUTS},
        "median_rank": float(next(k for k in range(1, gallery + 1) if recall(k) >= 0.5)),
        "mean_rank": mean({right: (gallery + 1) / (right + 1) for right in positives}),
        "mean_average_precision": mean({right: precision(right) for right in positives}),
    }
