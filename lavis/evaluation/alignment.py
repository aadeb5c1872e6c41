"""Alignment of one set of embeddings (objects) with another (texts).

`published_metrics` are the figures of PointLLM-Contrastive's src/visualize_tsne.py
(github.com/amine-maazizi/PointLLM-Contrastive), under its names: distance of the centroids, average
and minimum Euclidean distance, average and maximum cosine, mean variance per dimension.
They describe two sets: a loss without pairs can improve them. `PairedSets` adds what they cannot
show, whether an object lies near its own text. Its headline figures are

    margin                      cos(object, own text) - mean cos(object, texts that differ from it)
    within_<group>/recall_at_1  object to text among the objects of one group (colour, category)

and both are at chance for a loss without pairs. All figures are functions of a weight per
object, so one set of bootstrap weights serves every figure of every model, and changes between
models are paired. A resample reweights the objects; the texts that an object is compared with in
margins, ranks and recalls stay those of the whole split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lavis.common.errors import EvaluationError
from lavis.evaluation.baselines import chance_recall
from lavis.evaluation.intervals import N_RESAMPLES, percentile_metric
from lavis.evaluation.retrieval import RECALL_AT, max_similarity, retrieval_scores


def pairwise_distances(points: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """Euclidean distances between [N,E] and [M,E] -> float64 [N,M]."""
    points, texts = np.asarray(points, np.float64), np.asarray(texts, np.float64)
    squares = (points**2).sum(1)[:, None] + (texts**2).sum(1) - 2 * points @ texts.T
    return np.sqrt(np.maximum(squares, 0.0))


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """Rows [N,E] divided by their length; a zero row stays zero."""
    rows = np.asarray(rows, np.float64)
    length = np.linalg.norm(rows, axis=-1, keepdims=True)
    return rows / np.where(length == 0, 1.0, length)


def published_metrics(points: np.ndarray, texts: np.ndarray) -> dict[str, float]:
    """Compare two sets of any sizes.

    Args:
        points: [N,E] object embeddings.
        texts: [M,E] embeddings of texts, or of the tokens of texts as in the release.

    Returns:
        The release's seven figures.

    Raises:
        EvaluationError: an empty set, different widths, or NaN.
    """
    points, texts = _checked(points, "object embeddings"), _checked(texts, "text embeddings")
    if points.shape[1] != texts.shape[1]:
        raise EvaluationError(
            "embeddings of different width", got=f"{points.shape} and {texts.shape}"
        )
    distances = pairwise_distances(points, texts)
    cosines = unit_rows(points) @ unit_rows(texts).T
    return {
        "centroid_distance": float(np.linalg.norm(points.mean(0) - texts.mean(0))),
        "avg_pairwise_distance": float(distances.mean()),
        "min_pairwise_distance": float(distances.min()),
        "avg_cosine_similarity": float(cosines.mean()),
        "max_cosine_similarity": float(cosines.max()),
        "point_variance": float(points.var(0).mean()),
        "text_variance": float(texts.var(0).mean()),
    }


def _checked(rows: np.ndarray, what: str) -> np.ndarray:
    rows = np.asarray(rows, np.float64)
    if rows.ndim != 2 or rows.size == 0 or not np.isfinite(rows).all():
        raise EvaluationError(
            f"bad {what}", got=f"shape {rows.shape}", expected="[N,E], finite, N >= 1"
        )
    return rows


class PairedSets:
    """Objects and their texts: points[i] belongs to texts[i].

    Args:
        points: [N,E], or [N,Q,E] for models with Q embeddings per object: distances then use
            their mean, similarity the best of the Q.
        texts: [N,E].
        names: N texts; equal ones are equally right. None: all differ.
        groups: {"color": N labels, …}; recall within each group is computed.
    """

    def __init__(
        self,
        points: np.ndarray,
        texts: np.ndarray,
        names: Sequence[str] | None = None,
        groups: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        points = np.asarray(points, np.float64)
        self.points = _checked(points.mean(1) if points.ndim == 3 else points, "object embeddings")
        self.texts = _checked(texts, "text embeddings")
        if self.points.shape != self.texts.shape:
            raise EvaluationError(
                "objects and texts must come in pairs",
                got=f"{self.points.shape} and {self.texts.shape}",
            )
        names = [str(i) for i in range(len(points))] if names is None else list(names)
        self.same_text = equal_labels(names)  # [N,N]
        self.positives = [np.flatnonzero(row).tolist() for row in self.same_text]
        self.same_group = {key: equal_labels(labels) for key, labels in (groups or {}).items()}
        self.distances = pairwise_distances(self.points, self.texts)
        self.similarity = max_similarity(unit_rows(points), unit_rows(self.texts))  # [N,N]
        self.per_object = self._hits()

    def _hits(self) -> dict[str, np.ndarray]:
        """Per-object values [N] whose weighted means are figures."""
        ranks = {
            "object_to_text": retrieval_scores(self.similarity, self.positives).ranks,
            "text_to_object": retrieval_scores(self.similarity.T, self.positives).ranks,
        }
        nearest = retrieval_scores(-self.distances, self.positives).ranks == 1
        values = {
            "matched_cosine_similarity": np.diag(self.similarity),
            "nearest_text_distance": self.distances.min(1),
            "nearest_text_accuracy": nearest.astype(np.float64),
            "point_norm": np.linalg.norm(self.points, axis=1),
            "text_norm": np.linalg.norm(self.texts, axis=1),
        }
        if not self.same_text.all(1).any():
            values["margin"] = margins(self.similarity, self.same_text)
        for direction, rank in ranks.items():
            for k in RECALL_AT:
                values[f"{direction}/recall_at_{k}"] = (rank <= k).astype(np.float64)
        for key, same in self.same_group.items():
            rank = group_ranks(self.similarity, self.same_text, same)
            values[f"within_{key}/recall_at_1"] = (rank == 1).astype(np.float64)
        return values

    def figures(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Figures of weighted objects.

        Args:
            weights: [R,N], rows sum to one; a row of 1/N gives the plain figures.

        Returns:
            {figure: [R]}.
        """
        point_mean, text_mean = weights @ self.points, weights @ self.texts  # [R,E]
        point_unit = weights @ unit_rows(self.points)
        text_unit = weights @ unit_rows(self.texts)
        results = {
            "centroid_distance": np.linalg.norm(point_mean - text_mean, axis=1),
            "avg_pairwise_distance": ((weights @ self.distances) * weights).sum(1),
            "avg_cosine_similarity": (point_unit * text_unit).sum(1),
            "point_variance": self._variance(weights, self.points, point_mean),
            "text_variance": self._variance(weights, self.texts, text_mean),
        }
        return results | {name: weights @ values for name, values in self.per_object.items()}

    @staticmethod
    def _variance(weights: np.ndarray, rows: np.ndarray, mean: np.ndarray) -> np.ndarray:
        """Weighted variance, averaged over the dimensions: [R]."""
        return (weights @ (rows**2).sum(1) - (mean**2).sum(1)) / rows.shape[1]

    def plain(self) -> dict[str, float]:
        """Every figure of the set as it is."""
        size = len(self.points)
        found = {n: float(v[0]) for n, v in self.figures(np.full((1, size), 1 / size)).items()}
        # Means: N weights of 1/N can add up to more than one, and a recall to more than 100%.
        return found | {name: float(values.mean()) for name, values in self.per_object.items()}

    def metrics(self, n_resamples: int = N_RESAMPLES, seed: int = 0) -> dict[str, Any]:
        """Figures with 95% intervals over objects, in the shape of a metrics record.

        Extremes have no interval: the bootstrap does not apply to them.
        """
        draws = self.figures(bootstrap_weights(len(self.points), n_resamples, seed))
        found: dict[str, dict[str, Any]] = {
            name: percentile_metric(value, draws[name]) for name, value in self.plain().items()
        }
        for name, value in (
            ("min_pairwise_distance", self.distances.min()),
            ("max_cosine_similarity", self.similarity.max()),
        ):
            found[name] = {"value": float(value), "ci95": None}
        return found

    def chance(self) -> dict[str, float]:
        """What random embeddings reach: accuracy and recalls."""
        counts = [len(group) for group in self.positives]
        recalls = {k: chance_recall(counts, len(counts), k) for k in RECALL_AT}
        directions = ("object_to_text", "text_to_object")
        found = {f"{d}/recall_at_{k}": value for d in directions for k, value in recalls.items()}
        within = {
            f"within_{key}/recall_at_1": group_chance(self.same_text, same)
            for key, same in self.same_group.items()
        }
        return found | within | {"nearest_text_accuracy": recalls[1]}


def equal_labels(labels: Sequence[str]) -> np.ndarray:
    """Whether items have the same label: bool [N,N]."""
    _, codes = np.unique(np.asarray(labels, dtype=str), return_inverse=True)
    return codes[:, None] == codes[None, :]


def margins(similarity: np.ndarray, same_text: np.ndarray) -> np.ndarray:
    """Similarity to the own text minus the mean over the texts that differ from it, float64 [N].

    Args:
        similarity: [N,N], objects in rows and their texts in columns.
        same_text: bool [N,N], texts that are equal; each row has a text that differs.
    """
    other = ~same_text
    mean_other = np.where(other, similarity, 0.0).sum(1) / other.sum(1)
    return np.diag(similarity) - mean_other


def group_ranks(
    similarity: np.ndarray, same_text: np.ndarray, same_group: np.ndarray
) -> np.ndarray:
    """Rank of the best right text among the texts of the object's own group, int64 [N].

    Args:
        similarity: [N,N], objects in rows and their texts in columns.
        same_text: bool [N,N], texts that are equal and so equally right.
        same_group: bool [N,N], which texts each object is compared with.

    Ties count against the object, as in `retrieval_scores`.
    """
    best = np.where(same_text & same_group, similarity, -np.inf).max(1, keepdims=True)
    return 1 + (same_group & ~same_text & (similarity >= best)).sum(1)


def group_chance(same_text: np.ndarray, same_group: np.ndarray) -> float:
    """Expected recall at 1 of a random order of each object's own group."""
    return float(((same_text & same_group).sum(1) / same_group.sum(1)).mean())


def bootstrap_weights(size: int, n_resamples: int, seed: int) -> np.ndarray:
    """How often each of N objects is drawn in each resample, over N: [R,N]."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(size, np.full(size, 1 / size), size=n_resamples) / size


def changes(
    before: PairedSets, after: PairedSets, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> dict[str, Any]:
    """How much each figure changed on the same objects, after - before, with 95% intervals."""
    if len(before.points) != len(after.points):
        raise EvaluationError(
            "changes are measured on the same objects",
            got=f"{len(before.points)} and {len(after.points)} objects",
        )
    weights = bootstrap_weights(len(after.points), n_resamples, seed)
    old, new = before.figures(weights), after.figures(weights)
    start, end = before.plain(), after.plain()
    return {name: percentile_metric(end[name] - start[name], new[name] - old[name]) for name in end}
