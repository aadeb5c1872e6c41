"""Held-out classes: class names against the texts of an object's nearest training objects.

    neighbour_words      tf-idf cosine of the class name and the neighbours' captions and classes
    neighbour_sentences  MiniLM cosine of the same texts (frozen, not trained here)

    forest_sentences     MiniLM cosine of the class name and the training classes, weighted by the
                         forest's posterior (ConSE, Norouzi et al., arXiv 1312.5650)

Each neighbour counts by 1 / rank.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np

from lavis.common.errors import CheckpointError, ConfigError
from lavis.evaluation.baselines.captions import first_records, forest_posterior
from lavis.evaluation.baselines.pool import Pool
from lavis.evaluation.baselines.text_index import TextIndex

K_TEXTS = 10
Embed = Callable[[Sequence[str]], np.ndarray]


def class_text_scores(
    pool: Pool, class_names: Sequence[str], embed: Embed | None = None
) -> dict[str, np.ndarray]:
    """Return {baseline: scores [n,K]} for classes that training does not have.

    Args:
        pool: its training records have captions and classes.
        class_names: the K classes.
        embed: texts to unit vectors [k,E]; None takes the built-in MiniLM, where installed.
    """
    first = first_records(pool)
    if first is None or pool.best_order is None:
        return {}
    near = pool.best_order[:, :K_TEXTS]
    records = [pool.train[k] for k in first]
    texts = [f"{e.get('caption', '')} {e.get('category', '')}".strip() for e in records]
    index = TextIndex([*texts, *class_names], longest=1)
    words = (index(texts) @ index(list(class_names)).T).toarray()  # [m,K]
    found = {"neighbour_words": weighted_by_rank(words, near)}
    posterior = forest_posterior(pool, records)
    known = posterior[0] if posterior is not None else []
    used, rows = np.unique(near, return_inverse=True)  # only texts of neighbours are embedded
    vectors = sentence_vectors([*(texts[k] for k in used), *known, *class_names], embed)
    if vectors is not None:
        names = vectors[len(used) + len(known) :]  # [K,E]
        cosines = vectors[: len(used)] @ names.T
        found["neighbour_sentences"] = weighted_by_rank(cosines, rows.reshape(near.shape))
        if posterior is not None:
            classes = vectors[len(used) : len(used) + len(known)]  # [C,E]
            found["forest_sentences"] = (posterior[1] @ (classes @ names.T)).round(7)
    return found


def weighted_by_rank(similarity: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Return the mean similarity of the neighbours, weighted by 1 / rank: [m,K] -> [n,K]."""
    weights = 1.0 / np.arange(1, near.shape[1] + 1)
    total = (similarity[near] * (weights / weights.sum())[None, :, None]).sum(axis=1)
    return total.astype(np.float64).round(7)


def sentence_vectors(texts: Sequence[str], embed: Embed | None) -> np.ndarray | None:
    """Return unit vectors of texts [k,E]; None where the sentence model is not installed."""
    if embed is not None:
        return embed(texts)
    from lavis.evaluation.sentence_encoders import SentenceEncoder

    try:
        return SentenceEncoder("minilm")(texts)
    except (CheckpointError, ConfigError, ImportError) as error:
        logging.warning("baseline neighbour_sentences left out: %s", error)
        return None
