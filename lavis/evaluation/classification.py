"""Zero-shot or closed-set classification: top-1/3/5, class-mean accuracy, per class, confusion.

Ties are broken pessimistically, as in retrieval.py: another class of equal score ranks first,
so a model that scores all classes the same is never right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lavis.common.errors import EvaluationError
from lavis.evaluation.intervals import N_RESAMPLES, mean_ci
from lavis.evaluation.records import first_few

TOP = (1, 3, 5)


@dataclass(frozen=True)
class ClassificationScores:
    """Classification metrics over N items and C classes.

    Attributes:
        ranks: [N] int64, rank of the right class, 1 is best.
        labels: [N] int64.
        predicted: [N] int64, best class (the first of equal ones).
        class_names: C names.
    """

    ranks: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    class_names: list[str]

    @property
    def n_scored(self) -> int:
        return len(self.ranks)

    @property
    def values(self) -> dict[str, float]:
        """top_1/3/5 and class_mean_accuracy (mean of top-1 over the classes that occur), 0..1."""
        per_class = [row["top_1"] for row in self.per_class.values() if row["n"]]
        return {
            **{f"top_{k}": float((self.ranks <= k).mean()) for k in TOP},
            "class_mean_accuracy": float(np.mean(per_class)),
        }

    @property
    def per_class(self) -> dict[str, dict[str, float]]:
        """{class: {"n", "top_1", "top_5"}}; a class without items has n 0 and no scores."""
        table: dict[str, dict[str, float]] = {}
        for index, name in enumerate(self.class_names):
            ranks = self.ranks[self.labels == index]
            table[name] = {"n": len(ranks)}
            if len(ranks):
                table[name] |= {f"top_{k}": float((ranks <= k).mean()) for k in (1, 5)}
        return table

    @property
    def confusion(self) -> np.ndarray:
        """[C,C] int64: row is the label, column the predicted class."""
        n = len(self.class_names)
        return np.bincount(self.labels * n + self.predicted, minlength=n * n).reshape(n, n)

    def metrics(self, *, n_resamples: int = N_RESAMPLES, seed: int = 0) -> dict[str, Any]:
        """Scores with 95% intervals over items, in the shape of a metrics record.

        The class-mean interval resamples items weighted so that every occurring class counts the
        same; classes with few items make it wide.
        """
        counts = np.bincount(self.labels, minlength=len(self.class_names))
        weight = len(self.labels) / (counts[self.labels] * np.count_nonzero(counts))
        items = {f"top_{k}": (self.ranks <= k).astype(np.float64) for k in TOP}
        items["class_mean_accuracy"] = (self.ranks <= 1) * weight
        return {
            name: {
                "value": self.values[name],
                "ci95": list(mean_ci(values, n_resamples=n_resamples, seed=seed)),
            }
            for name, values in items.items()
        }


def classification_scores(
    scores: np.ndarray,
    labels: Sequence[int] | np.ndarray,
    class_names: Sequence[str],
    *,
    item_ids: Sequence[Any] | None = None,
) -> ClassificationScores:
    """Score class similarities.

    Args:
        scores: [N,C], larger is better.
        labels: [N] class indices.
        class_names: C distinct names.
        item_ids: names used in error messages; default 0..N-1.

    Raises:
        EvaluationError: shapes disagree, a label outside 0..C-1, NaN scores.
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    names = list(range(len(labels))) if item_ids is None else list(item_ids)
    _check(scores, labels, class_names, names)
    own = scores[np.arange(len(labels)), labels]  # [N]
    ranks = (scores >= own[:, None]).sum(axis=1)  # counts the right class itself: 1 is best
    return ClassificationScores(
        ranks.astype(np.int64), labels.astype(np.int64), scores.argmax(axis=1), list(class_names)
    )


def _check(
    scores: np.ndarray, labels: np.ndarray, class_names: Sequence[str], names: Sequence[Any]
) -> None:
    if (
        scores.shape != (len(labels), len(class_names))
        or not scores.size
        or (len(names) != len(labels) or len(set(class_names)) != len(class_names))
    ):
        raise EvaluationError(
            "scores, labels and classes disagree",
            got=f"scores {scores.shape}, {len(labels)} labels, {len(names)} ids, "
            f"{len(class_names)} class names, {len(set(class_names))} distinct",
            expected="scores [N,C], N labels, C distinct class names",
        )
    integral = np.issubdtype(labels.dtype, np.integer)
    outside = np.flatnonzero((labels < 0) | (labels >= len(class_names)) | (not integral))
    if len(outside):
        raise EvaluationError(
            f"{len(outside)} labels are not a class index",
            where=f"items {first_few(names[k] for k in outside.tolist())}",
            got=first_few(labels[outside].tolist()),
            expected=f"integers 0..{len(class_names) - 1}",
        )
    bad = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if len(bad):
        raise EvaluationError(
            f"{len(bad)} items have a NaN or infinite class score",
            where=f"items {first_few(names[k] for k in bad.tolist())}",
        )


def chance_accuracy(n_classes: int) -> dict[str, float]:
    """Expected metrics of a random ranking of the classes."""
    chance = {f"top_{k}": min(1.0, k / n_classes) for k in TOP}
    return chance | {"class_mean_accuracy": 1.0 / n_classes}


def most_frequent_accuracy(
    train_labels: Sequence[int] | np.ndarray, labels: Sequence[int] | np.ndarray
) -> dict[str, float]:
    """Metrics of ranking the classes by how often they occur in training.

    Args:
        train_labels: labels of the training split; never of the scored one.
        labels: [N] labels of the scored split.
    """
    width = int(max(np.max(train_labels), np.max(labels))) + 1
    counts = np.bincount(np.asarray(train_labels), minlength=width)
    order = np.argsort(-counts, kind="stable")
    result = {f"top_{k}": float(np.isin(labels, order[:k]).mean()) for k in TOP}
    present = np.unique(labels)
    return result | {"class_mean_accuracy": float((present == order[0]).mean())}
