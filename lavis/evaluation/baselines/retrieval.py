"""Retrieval without embeddings: similarity [n,T] of objects and texts, for both directions.

    colour_only          the text names the object's own colour (texts with colour words)
    colour_and_category  the same and the forest's class of the object, as read in the text
    tfidf_lookup         texts against the captions of the k nearest training objects
    lookup_and_forest    tfidf_lookup, plus agreement of the object's class posterior with the
                         text's, plus agreement of the box with the footprint in the text, plus
                         the colour word where texts have one

Ties are frequent: `expected_recalls` breaks them at random, in exact expectation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lavis.datasets.footprints import GROUND, sides_in
from lavis.evaluation.baselines.captions import (
    first_records,
    footprint_boxes,
    forest_posterior,
    training_text,
)
from lavis.evaluation.baselines.colors import color_in, own_colors
from lavis.evaluation.baselines.pool import Pool
from lavis.evaluation.baselines.text_classes import text_posterior
from lavis.evaluation.baselines.text_index import TextIndex

# Grid on val of bricks v2 (580 objects, texts without colour), mean of R@1/5/10 of both directions:
# k 5, class 0.2, size 0.2: 40.9; k 10 with the same weights: 40.7; class 0.4, size 0.1, k 10: 37.4.
# The lookup alone, R@1 object to text: k 1 17.9, 5 19.7, 10 19.3, 40 17.8.
K_LOOKUP = 5
CLASS_WEIGHT = 0.2
SIZE_WEIGHT = 0.2
SIZE_WIDTH = 0.15  # of the log ratio of sides at which agreement falls to 1/e
NO_SIZE = 0.2  # agreement of a text without a footprint
COLOR_WEIGHT = 2.0  # above all others together: own colours are exact
Matrices = dict[str, np.ndarray]


def retrieval_baselines(
    pool: Pool, object_ids: Sequence[str], texts: Sequence[str], text_field: str = "caption"
) -> Matrices:
    """Return {baseline: similarity float64 [n,T]}; its transpose ranks objects for each text.

    Args:
        pool: of the evaluated objects.
        object_ids: [n] object of each row, repeats allowed.
        texts: [T] candidate texts as they are compared.
        text_field: field of the training texts.
    """
    found = pool_similarities(pool, texts, text_field)
    row_of = {name: row for row, name in enumerate(pool.object_ids)}
    rows = [row_of[str(i)] for i in object_ids]
    return {name: matrix[rows] for name, matrix in found.items()}


def pool_similarities(pool: Pool, texts: Sequence[str], text_field: str) -> Matrices:
    """Return {baseline: similarity [n,T]} of the pool's distinct objects."""
    first = first_records(pool)
    if first is None or pool.features is None or pool.train_features is None:
        return {}
    records = [pool.train[k] for k in first]
    known = [training_text(entry, text_field) for entry in records]
    color = color_agreement(pool, records, known, texts)
    classes = class_agreement(pool, records, known, texts)
    found: Matrices = {} if color is None else {"colour_only": color}
    if color is not None and classes is not None:
        found["colour_and_category"] = color + classes
    if pool.best_order is None:
        return found
    lookup = lookup_similarity(known, texts, pool.best_order[:, :K_LOOKUP])
    found["tfidf_lookup"] = lookup
    size = size_agreement(pool, known, texts)
    parts = [(CLASS_WEIGHT, classes), (SIZE_WEIGHT, size), (COLOR_WEIGHT, color)]
    if any(part is not None for _, part in parts):
        mixed = lookup + sum(weight * part for weight, part in parts if part is not None)
        found["lookup_and_forest"] = mixed
    return {name: matrix.round(9) for name, matrix in found.items()}


def lookup_similarity(known: Sequence[str], texts: Sequence[str], near: np.ndarray) -> np.ndarray:
    """Return the cosine of texts and the neighbours' texts, weighted by 1 / rank: [n,T]."""
    from scipy import sparse

    index = TextIndex(known)
    weights = 1.0 / np.arange(1, near.shape[1] + 1)
    n, k = near.shape
    gather = sparse.csr_matrix(
        (np.tile(weights / weights.sum(), n), near.ravel(), np.arange(0, n * k + 1, k)),
        shape=(n, len(known)),
    )
    return ((gather @ index.vectors) @ index(texts).T).toarray()


def class_agreement(
    pool: Pool, records: Sequence[Any], known: Sequence[str], texts: Sequence[str]
) -> np.ndarray | None:
    """Return the probability that object and text are of one class: [n,T]; None without classes."""
    posterior = forest_posterior(pool, list(records))
    if posterior is None or len(posterior[0]) < 2:
        return None
    names, objects = posterior  # [n,K]
    labels = [str(entry["category"]) for entry in records]
    return objects @ text_posterior(known, labels, texts, names).T


def size_agreement(pool: Pool, known: Sequence[str], texts: Sequence[str]) -> np.ndarray | None:
    """Return how well boxes fit the footprints in the texts, 0..1: [n,T]; None without sizes."""
    boxes = footprint_boxes(pool, known)
    if boxes is None:
        return None
    sides = np.log(np.maximum(np.sort(boxes[:, list(GROUND)], axis=1), 0.1))  # [n,2]
    agreement = np.full((len(boxes), len(texts)), NO_SIZE)
    for column, text in enumerate(texts):
        named = sides_in(text)
        if named is not None and min(named) > 0:
            gap = np.abs(sides - np.log(named)).sum(axis=1)  # [n]
            agreement[:, column] = np.exp(-gap / SIZE_WIDTH)
    return agreement


def color_agreement(
    pool: Pool, records: Sequence[Any], known: Sequence[str], texts: Sequence[str]
) -> np.ndarray | None:
    """Return 1 where the text names the object's own colour, else 0: [n,T]; None without."""
    own = own_colors(pool, records, known)
    if own is None:
        return None
    words = sorted({str(entry["color"]) for entry in records})
    named = np.array([color_in(text, words) or "" for text in texts])  # [T]
    mine = np.array([own[i] for i in pool.object_ids])  # [n]
    return (mine[:, None] == named[None, :]).astype(np.float64)
