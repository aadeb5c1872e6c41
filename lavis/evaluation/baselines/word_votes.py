"""Features of a forest from the training answers on the word of a yes/no question.

Over all other objects with a question on the word, or on a phrase that shares its last word:
the share of "yes", the share of "yes" weighted by closeness in histogram and box, and the distances
to the nearest "yes" and the nearest "no".
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lavis.evaluation.baselines.neighbours import squared_distances

# Squared distance at which a vote counts 1/e.
VOTE_WIDTH = 0.1
FAR = 10.0  # squared distance to a neighbour that does not exist
Words = Sequence[tuple[str, ...]]


def word_votes(
    tables: tuple[np.ndarray, np.ndarray],
    words: Sequence[Words],
    yes: np.ndarray,
    owners: Sequence[Sequence[str]],
) -> list[np.ndarray]:
    """Return the votes of training [m,8] and asked questions [n,8].

    Args:
        tables: features of the objects of training questions [m,F] and asked ones [n,F].
        words: named words of both.
        yes: bool [m], the training answers.
        owners: object ids of both; objects do not vote on questions about themselves.
    """
    known = [phrase_keys(w) for w in words[0]]
    voters: dict[tuple[int, str], list[int]] = {}
    for row, keys in enumerate(known):
        for level, key in enumerate(keys):
            voters.setdefault((level, key), []).append(row)
    train_owners = np.array(owners[0])
    result = []
    for table, part, names in zip(tables, words, owners, strict=True):
        rows = np.zeros((len(table), 8), dtype=np.float32)
        for number, phrase in enumerate(part):
            for level, key in enumerate(phrase_keys(phrase)):
                found = np.array(voters.get((level, key), []), dtype=np.int64)
                found = found[train_owners[found] != names[number]]
                votes = _votes(table[number], tables[0][found], yes[found])
                rows[number, 4 * level : 4 * level + 4] = votes
        result.append(rows)
    return result


def phrase_keys(words: tuple[str, ...]) -> tuple[str, str]:
    """Return the whole phrase, and its last word without a plural s."""
    return " ".join(words), words[-1].rstrip("s") if words else ""


def _votes(own: np.ndarray, others: np.ndarray, yes: np.ndarray) -> np.ndarray:
    """Return share of yes, weighted share of yes, nearest yes, nearest no: [4]."""
    if not len(others):
        return np.array([0.5, 0.5, FAR, FAR])
    distances = squared_distances(own[None], others)[0]
    weights = np.exp(-distances / VOTE_WIDTH) + 1e-6
    nearest = [distances[group].min() if group.any() else FAR for group in (yes, ~yes)]
    prior = (yes.sum() + 1) / (len(yes) + 2)
    return np.array([prior, (weights * yes).sum() / weights.sum(), *nearest])
