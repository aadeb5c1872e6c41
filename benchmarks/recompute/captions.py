"""Caption scores by pycocoevalcap's own scorers, from the prediction file and the annotation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from benchmarks.recompute.ledger import Figures
from benchmarks.recompute.resampling import N_SCORE, intervals, percentiles, resampled_sums
from benchmarks.recompute.runs import Data, Run
from benchmarks.recompute.words import caption_words

ORDERS = (1, 2, 3, 4)
BLEU = tuple(f"bleu_{order}" for order in ORDERS)
MEANS = {"rouge_l": "rouge_l", "cider": "cider", "mean_length": "length"}  # {metric: its items}
TEXT_FIELDS = ("caption", "colored_caption", "description")
Words = Mapping[str, list[str]]
ItemScores = dict[str, dict[str, float]]


def text_field(run: Run, data: Data) -> str:
    """Return the annotated field of the run's texts: the recorded one, or the one that fits."""
    recorded = run.record["extra"].get("text_field")
    if recorded:
        return str(recorded)
    texts = {str(p["image_id"]): p["2d_caption"] for p in run.predictions}
    for name in TEXT_FIELDS:
        annotated = {e["object_id"]: e.get(name) for e in data.of(run)}
        if all(annotated.get(i) == text for i, text in texts.items()):
            return name
    raise ValueError(f"{run.name}: no annotated field holds the references of the predictions")


def references(run: Run, data: Data) -> Words:
    """Return the words of each predicted object's reference, from the annotation."""
    name = text_field(run, data)
    text_of = {e["object_id"]: str(e[name]) for e in data.of(run)}
    return {i: caption_words(text_of[i]) for i in (str(p["image_id"]) for p in run.predictions)}


def scores(captions: Words, right: Words) -> tuple[dict[str, float | None], ItemScores]:
    """Score captions with one reference each: corpus scores, and scores of the items."""
    ids = list(right)
    given = {i: [" ".join(captions[i])] for i in ids}
    wanted = {i: [" ".join(right[i])] for i in ids}
    bleu, bleu_items = Bleu(4).compute_score(wanted, given, verbose=0)
    rouge, rouge_items = Rouge().compute_score(wanted, given)
    cider, cider_items = Cider().compute_score(wanted, given)
    columns = [*zip(BLEU, bleu_items), ("rouge_l", rouge_items), ("cider", cider_items)]
    items = {name: dict(zip(ids, map(float, values))) for name, values in columns}
    items["length"] = {i: float(len(captions[i])) for i in ids}
    values: dict[str, float | None] = dict(zip(BLEU, map(float, bleu)))
    values |= {"rouge_l": float(rouge), "cider": float(cider)}
    return values | diversity([captions[i] for i in ids]), items


def diversity(captions: Sequence[list[str]]) -> dict[str, float | None]:
    """Return the counts of different captions and words, distinct-1/2, and the mean length."""
    singles = [word for words in captions for word in words]
    pairs = [pair for words in captions for pair in pairwise(words)]
    return {
        "distinct_captions": len({tuple(words) for words in captions}),
        "vocabulary": len(set(singles)),
        "distinct_1": len(set(singles)) / len(singles) if singles else None,
        "distinct_2": len(set(pairs)) / len(pairs) if pairs else None,
        "mean_length": len(singles) / len(captions),
    }


def bleu_counts(caption: list[str], reference: list[str]) -> list[int]:
    """Return clipped matches and n-grams of order 1 to 4, and both lengths: [10]."""
    matches, grams = [], []
    for order in ORDERS:
        own, other = (
            Counter(tuple(words[k : k + order]) for k in range(len(words) - order + 1))
            for words in (caption, reference)
        )
        matches.append(sum((own & other).values()))
        grams.append(sum(own.values()))
    return [*matches, *grams, len(caption), len(reference)]


def bleu_of_sums(sums: np.ndarray) -> np.ndarray:
    """Return BLEU-1..4 [R,4] of summed counts [R,10], with pycocoevalcap's smoothing."""
    log_precision = np.log((sums[:, :4] + 1e-15) / (sums[:, 4:8] + 1e-9))
    geometric = np.exp(np.cumsum(log_precision, axis=1) / np.array(ORDERS))
    ratio = (sums[:, 8] + 1e-15) / (sums[:, 9] + 1e-9)
    brevity = np.exp(np.minimum(0.0, 1 - 1 / ratio))
    return geometric * brevity[:, None]


def bleu_intervals(captions: Words, right: Words) -> dict[str, list[float]]:
    """Return the 95% intervals of corpus BLEU: items are drawn, their counts summed."""
    counts = sorted(bleu_counts(captions[i], words) for i, words in right.items())
    draws = bleu_of_sums(resampled_sums(np.array(counts, dtype=np.float64), N_SCORE))  # [R,4]
    return {name: percentiles(draws[:, k]) for k, name in enumerate(BLEU)}


def from_predictions(run: Run, data: Data) -> Figures:
    """Recompute the scores of a captioning run from what it wrote."""
    captions = {str(p["image_id"]): caption_words(p["caption"]) for p in run.predictions}
    right = references(run, data)
    values, items = scores(captions, right)
    found: dict[str, list[float]] = bleu_intervals(captions, right)
    found |= intervals({name: list(items[source].values()) for name, source in MEANS.items()})
    return {
        **{("metrics", name, "value"): value for name, value in values.items()},
        **interval_figures(found),
        **item_figures(("items",), items),
        ("extra", "n_empty"): sum(not words for words in captions.values()),
        ("n_scored",): len(right),
    }


def interval_figures(found: Mapping[str, Sequence[float]]) -> Figures:
    """Lay out {metric: [low, high]} as figures."""
    return {
        ("metrics", name, "ci95", str(k)): bound
        for name, bounds in found.items()
        for k, bound in enumerate(bounds)
    }


def item_figures(start: tuple[str, ...], items: Mapping[str, Mapping[Any, float]]) -> Figures:
    """Lay out {metric: {id: value}} as figures below `start`."""
    return {
        (*start, metric, str(i)): value
        for metric, values in items.items()
        for i, value in values.items()
    }


def baseline_figures(name: str, captions: Mapping[str, str], right: Words) -> Figures:
    """Score the captions of a baseline, corpus and items."""
    values, items = scores({i: caption_words(captions[i]) for i in right}, right)
    return {("baselines", name, metric): value for metric, value in values.items()} | item_figures(
        ("baseline_items", name), items
    )
