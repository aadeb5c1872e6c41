"""Classification scores from the five best classes of each object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from benchmarks.recompute.captions import interval_figures, item_figures
from benchmarks.recompute.ledger import Figures
from benchmarks.recompute.resampling import intervals
from benchmarks.recompute.runs import Data, Run

TOP = (1, 3, 5)
Items = dict[str, dict[str, float]]


def labels(run: Run, data: Data) -> dict[str, str]:
    """Return the annotated class of each predicted object."""
    known = {str(e["object_id"]): str(e["category"]).lower() for e in data.of(run)}
    return {i: known[i] for i in (str(p["instance_id"]) for p in run.predictions)}


def top_items(ranked: Mapping[str, Sequence[str]], right: Mapping[str, str]) -> Items:
    """Return whether the right class is among the first 1, 3, 5 of each object."""
    return {f"top_{k}": {i: float(right[i] in ranked[i][:k]) for i in right} for k in TOP}


def class_mean(top_1: Mapping[str, float], right: Mapping[str, str]) -> float:
    """Return the mean over the classes that occur of the share of right objects."""
    sizes = Counter(right.values())
    hits = Counter(right[i] for i, value in top_1.items() if value)
    return sum(hits[name] / size for name, size in sizes.items()) / len(sizes)


def weighted(top_1: Mapping[str, float], right: Mapping[str, str]) -> list[float]:
    """Return top-1 values with weights that make every class count the same; mean: class mean."""
    sizes = Counter(right.values())
    return [v * len(right) / (len(sizes) * sizes[right[i]]) for i, v in top_1.items()]


def values_of(items: Items, right: Mapping[str, str]) -> dict[str, float]:
    """Return top-1/3/5 and class mean."""
    found = {name: sum(values.values()) / len(values) for name, values in items.items()}
    return found | {"class_mean_accuracy": class_mean(items["top_1"], right)}


def from_predictions(run: Run, data: Data) -> Figures:
    """Recompute the scores of a classification run from what it wrote."""
    right, names = labels(run, data), data.class_names(run.split)
    ranked = {str(p["instance_id"]): p["top_5"] for p in run.predictions}
    items = top_items(ranked, right)
    columns = {name: [*values.values()] for name, values in items.items()}
    columns["class_mean_accuracy"] = weighted(items["top_1"], right)
    found: Figures = {
        ("metrics", name, "value"): value for name, value in values_of(items, right).items()
    }
    found |= interval_figures(intervals(columns)) | item_figures(("items",), items)
    best = {str(p["instance_id"]): p["prediction"] for p in run.predictions}
    found |= item_figures(("extra", "per_class"), per_class(items, right, names))
    found |= confusion(best, right, names)
    found |= {("extra", "classes", str(k)): name for k, name in enumerate(names)}
    return found | {("n_scored",): len(right)}


def per_class(
    items: Items, right: Mapping[str, str], names: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Return {class: {"n", "top_1", "top_5"}}; a class without objects has only n."""
    table: dict[str, dict[str, float]] = {}
    for name in names:
        own = [i for i, label in right.items() if label == name]
        table[name] = {"n": len(own)}
        if own:
            table[name] |= {k: sum(items[k][i] for i in own) / len(own) for k in ("top_1", "top_5")}
    return table


def confusion(best: Mapping[str, str], right: Mapping[str, str], names: Sequence[str]) -> Figures:
    """Return how often each class (row) was taken for each class (column)."""
    counts = Counter((right[i], best[i]) for i in right)
    return {
        ("extra", "confusion", str(row), str(column)): counts[label, taken]
        for row, label in enumerate(names)
        for column, taken in enumerate(names)
    }


def baseline_figures(
    name: str, ranked: Mapping[str, Sequence[str]], right: Mapping[str, str]
) -> Figures:
    """Score the class rankings of a baseline."""
    items = top_items(ranked, right)
    values = {("baselines", name, metric): v for metric, v in values_of(items, right).items()}
    return values | item_figures(("baseline_items", name), items)


def chance(n_classes: int) -> Figures:
    """Return the expected scores of a random ranking of the classes."""
    found: Figures = {("baselines", "chance", f"top_{k}"): min(k / n_classes, 1.0) for k in TOP}
    return found | {("baselines", "chance", "class_mean_accuracy"): 1 / n_classes}
