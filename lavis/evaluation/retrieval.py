"""Two-way retrieval with several positives: recall@k, median and mean rank, mAP.

The rank of a query is the rank of its best positive. Ties are broken pessimistically: a negative
of equal score ranks before a positive, so a collapsed model that scores everything the
same gets the worst rank, not the best. Other positives never push a positive back.

`streamed_retrieval_scores` gives the same result from embeddings, block by block, with the PTC
score max over the Q query tokens; galleries may be memory-mapped. To list the best items of a large
gallery without any ranks, use search.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lavis.common.errors import EvaluationError
from lavis.evaluation.intervals import N_RESAMPLES, bootstrap_ci, mean_ci, median_statistic
from lavis.evaluation.records import first_few
from lavis.evaluation.search import max_similarity

RECALL_AT = (1, 5, 10)
METRICS = (
    *(f"recall_at_{k}" for k in RECALL_AT),
    "median_rank",
    "mean_rank",
    "mean_average_precision",
)


@dataclass(frozen=True)
class RetrievalScores:
    """Retrieval metrics of one direction.

    Attributes:
        ranks: [Nq] int64, rank of the best positive, 1 is best.
        average_precision: [Nq] float64 in 0..1.
        n_gallery: number of gallery items.
        top_indices: [Nq,k] int64 best gallery items per query, or [Nq,0] when not asked for.
    """

    ranks: np.ndarray
    average_precision: np.ndarray
    n_gallery: int
    top_indices: np.ndarray

    @property
    def n_scored(self) -> int:
        return len(self.ranks)

    @property
    def values(self) -> dict[str, float]:
        """recall_at_1/5/10 and mean_average_precision (0..1), median_rank, mean_rank."""
        return {
            **{f"recall_at_{k}": float((self.ranks <= k).mean()) for k in RECALL_AT},
            "median_rank": float(np.median(self.ranks)),
            "mean_rank": float(self.ranks.mean()),
            "mean_average_precision": float(self.average_precision.mean()),
        }

    def metrics(self, *, n_resamples: int = N_RESAMPLES, seed: int = 0) -> dict[str, Any]:
        """Scores with 95% intervals over queries, in the shape of a metrics record."""
        options = {"n_resamples": n_resamples, "seed": seed}
        ci95: dict[str, Any] = {
            f"recall_at_{k}": mean_ci((self.ranks <= k).astype(float), **options) for k in RECALL_AT
        }
        ci95["median_rank"] = bootstrap_ci(self.ranks, median_statistic, **options)
        ci95["mean_rank"] = mean_ci(self.ranks, **options)
        ci95["mean_average_precision"] = mean_ci(self.average_precision, **options)
        return {
            name: {"value": value, "ci95": [float(bound) for bound in ci95[name]]}
            for name, value in self.values.items()
        }


def retrieval_scores(
    similarity: np.ndarray,
    positives: Sequence[Sequence[int]],
    *,
    query_ids: Sequence[Any] | None = None,
    top_k: int = 0,
) -> RetrievalScores:
    """Score a full similarity matrix.

    Args:
        similarity: [Nq,Ng], larger is better.
        positives: for each query the gallery indices that are right, at least one.
        query_ids: names used in error messages; default 0..Nq-1.
        top_k: how many best gallery indices to return per query.

    Raises:
        EvaluationError: NaN or infinite scores, a query without positives, an index outside the
            gallery, or a matrix and positives of different length.
    """
    similarity = np.asarray(similarity)
    if similarity.ndim != 2:
        raise EvaluationError(
            "a similarity matrix has two axes", got=similarity.shape, expected="[Nq,Ng]"
        )
    n_queries, n_gallery = similarity.shape
    _check_queries(positives, n_queries)
    scorer = BlockScorer(positives, n_gallery, query_ids, top_k)
    scorer.add(similarity)
    return scorer.result()


def streamed_retrieval_scores(
    query_embeds: np.ndarray,
    gallery_embeds: np.ndarray,
    positives: Sequence[Sequence[int]],
    *,
    query_ids: Sequence[Any] | None = None,
    top_k: int = 0,
    own_index: Sequence[int] | None = None,
    query_block: int = 256,
    gallery_block: int = 1024,
) -> RetrievalScores:
    """Score embeddings without holding more than `query_block` rows of the matrix.

    Texts are [Nq,E] against objects [Ng,Q,E], or objects [Nq,Q,E] against texts [Ng,E]; objects
    against objects have Q tokens on both sides. Peak memory is query_block * Ng scores plus
    query_block * gallery_block * Q products.

    Args:
        query_embeds: [Nq,E] or [Nq,Q,E], any array that slices (also a memory map).
        gallery_embeds: [Ng,E] or [Ng,Q,E].
        positives: as in `retrieval_scores`.
        query_ids: names used in error messages.
        top_k: how many best gallery indices to return per query.
        own_index: gallery indices of queries that are gallery items (object to object); a query
            itself is excluded from its ranking.
        query_block: queries per block.
        gallery_block: gallery items per block.

    Raises:
        EvaluationError: as in `retrieval_scores`, or embeddings of different width.
    """
    _check_embeddings(query_embeds, gallery_embeds)
    _check_queries(positives, len(query_embeds))
    scorer = BlockScorer(positives, len(gallery_embeds), query_ids, top_k, own_index)
    for block in _similarity_blocks(query_embeds, gallery_embeds, query_block, gallery_block):
        scorer.add(block)
    return scorer.result()


def _tokens(embeds: np.ndarray) -> int:
    """Q of [N,Q,E], 1 of [N,E]."""
    return np.shape(embeds)[1] if np.ndim(embeds) == 3 else 1


def _check_embeddings(query_embeds: np.ndarray, gallery_embeds: np.ndarray) -> None:
    shapes = np.shape(query_embeds), np.shape(gallery_embeds)
    if any(len(shape) not in (2, 3) or 0 in shape for shape in shapes) or (
        shapes[0][-1] != shapes[1][-1]
    ):
        raise EvaluationError(
            "queries and gallery cannot be compared",
            got=f"queries {shapes[0]}, gallery {shapes[1]}",
            expected="[N,E] or [N,Q,E] with the same E, at least one item each",
        )


def _similarity_blocks(
    query_embeds: np.ndarray, gallery_embeds: np.ndarray, query_block: int, gallery_block: int
) -> Iterator[np.ndarray]:
    """Yield rows [<=query_block,Ng] of the similarity matrix in query order."""
    if _tokens(gallery_embeds) > 1:  # object to object: Q * Q products per pair
        gallery_block = max(1, gallery_block // _tokens(query_embeds))
    for begin in range(0, len(query_embeds), query_block):
        queries = query_embeds[begin : begin + query_block]
        yield np.concatenate(
            [
                max_similarity(queries, gallery_embeds[start : start + gallery_block])
                for start in range(0, len(gallery_embeds), gallery_block)
            ],
            axis=1,
        )


class BlockScorer:
    """Scores rows of a similarity matrix that arrive in blocks, in query order.

    Args:
        positives: for each query the gallery indices that are right, at least one.
        n_gallery: number of gallery items.
        query_ids: names used in error messages; default 0..Nq-1.
        top_k: how many best gallery indices to return per query.
        own_index: as in `streamed_retrieval_scores`.

    Raises:
        EvaluationError: as in `retrieval_scores`.
    """

    def __init__(
        self,
        positives: Sequence[Sequence[int]],
        n_gallery: int,
        query_ids: Sequence[Any] | None = None,
        top_k: int = 0,
        own_index: Sequence[int] | None = None,
    ) -> None:
        self._names = list(range(len(positives))) if query_ids is None else list(query_ids)
        self._right = _checked_positives(positives, n_gallery, self._names)
        _check_own(own_index, self._right, self._names)
        self._own, self._n_gallery = own_index, n_gallery
        self._ranks = np.zeros(len(positives), dtype=np.int64)
        self._precision = np.zeros(len(positives))
        self._top = np.zeros((len(positives), min(top_k, n_gallery)), dtype=np.int64)
        self._begin = 0

    def add(self, block: np.ndarray) -> None:
        """Score the next rows [b,Ng]; with `own_index` they are changed in place."""
        rows = slice(self._begin, self._begin + len(block))
        _check_finite(block, self._names[rows])
        if self._own is not None:
            block[np.arange(len(block)), np.asarray(self._own)[rows]] = -np.inf
        for query, scores in enumerate(block, start=self._begin):
            self._ranks[query], self._precision[query] = _rank_one(scores, self._right[query])
            if self._top.shape[1]:
                self._top[query] = _stable_top(scores, self._top.shape[1])
        self._begin = rows.stop

    def result(self) -> RetrievalScores:
        """Return the scores of all rows."""
        n_others = self._n_gallery - (self._own is not None)
        return RetrievalScores(self._ranks, self._precision, n_others, self._top)


def _stable_top(scores: np.ndarray, k: int) -> np.ndarray:
    """Return the indices [k] of the largest scores [Ng]; equal scores keep the gallery's order."""
    least = np.partition(scores, len(scores) - k)[len(scores) - k]
    found = np.flatnonzero(scores >= least)
    return found[np.argsort(-scores[found], kind="stable")[:k]]


def _rank_one(scores: np.ndarray, positives: np.ndarray) -> tuple[int, float]:
    """Rank of the best positive and average precision of one query, scores [Ng]."""
    own = np.sort(scores[positives])[::-1]  # [P] best first
    if len(own) <= 4:  # counting beats sorting for the usual handful of positives
        at_least = np.array([np.count_nonzero(scores >= score) for score in own])
    else:
        at_least = len(scores) - np.searchsorted(np.sort(scores), own, side="left")
    own_at_least = len(own) - np.searchsorted(own[::-1], own, side="left")
    negatives_before = at_least - own_at_least  # [P]
    found = np.arange(1, len(own) + 1)
    return int(negatives_before[0]) + 1, float((found / (found + negatives_before)).mean())


def _check_finite(block: np.ndarray, names: Sequence[Any]) -> None:
    bad = np.flatnonzero(~np.isfinite(block).all(axis=1))
    if len(bad):
        raise EvaluationError(
            f"{len(bad)} queries have a NaN or infinite similarity",
            where=f"queries {first_few(names[k] for k in bad.tolist())}",
            fix="check the embeddings of these items",
        )


def _check_own(
    own_index: Sequence[int] | None, right: list[np.ndarray], names: Sequence[Any]
) -> None:
    if own_index is None:
        return
    own = zip(names, own_index, right, strict=True)
    wrong = [name for name, index, positives in own if index in positives]
    if wrong:
        raise EvaluationError(
            f"{len(wrong)} queries count themselves among their positives",
            where=f"queries {first_few(wrong)}",
        )


def _check_queries(positives: Sequence[Sequence[int]], n_queries: int) -> None:
    if len(positives) != n_queries:
        raise EvaluationError(
            "queries, positives and gallery disagree",
            got=f"{n_queries} queries, {len(positives)} lists of positives",
            expected="one list of positives per query",
        )


def _checked_positives(
    positives: Sequence[Sequence[int]], n_gallery: int, names: Sequence[Any]
) -> list[np.ndarray]:
    if not len(positives) == len(names) or not positives or n_gallery == 0:
        raise EvaluationError(
            "queries, positives and gallery disagree",
            got=f"{len(positives)} queries, {len(names)} query ids, {n_gallery} gallery items",
            expected="one list of positives per query, at least one query and gallery item",
        )
    right = [np.unique(np.asarray(row, dtype=np.int64)) for row in positives]
    empty = [name for name, row in zip(names, right, strict=True) if len(row) == 0]
    outside = [
        name
        for name, row in zip(names, right, strict=True)
        if len(row) and (row[0] < 0 or row[-1] >= n_gallery)
    ]
    for problem, found in (("no positive", empty), ("a positive outside the gallery", outside)):
        if found:
            raise EvaluationError(
                f"{len(found)} queries have {problem}",
                where=f"queries {first_few(found)}",
                expected=f"gallery indices 0..{n_gallery - 1}",
            )
    return right
