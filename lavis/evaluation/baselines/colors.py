"""Own colour word of each object, for texts that name the colour."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from lavis.datasets.scene_text import with_article
from lavis.evaluation.baselines.pool import Entry, Pool

# Share of training texts that hold their object's colour word, for "texts name the colour".
COLORED_SHARE = 0.9


def names_colors(train: Sequence[Entry], texts: Sequence[str]) -> bool:
    """Return whether the training texts name their object's colour."""
    if not train or not all(entry.get("color") for entry in train):
        return False
    hits = [has_word(text, str(e["color"])) for e, text in zip(train, texts, strict=True)]
    return bool(np.mean(hits) >= COLORED_SHARE)


def own_colors(pool: Pool, train: Sequence[Entry], texts: Sequence[str]) -> dict[str, str] | None:
    """Return {object id: colour word}: the training colour with the nearest mean rgb.

    Args:
        pool: features of training and evaluated objects.
        train: one record with `object_id` and `color` per training object.
        texts: their texts.

    Returns:
        None where the texts do not name colours, or clouds have none.
    """
    if pool.pair is None or not names_colors(train, texts):
        return None
    known, asked = pool.pair
    if known.colors is None or asked.colors is None:
        return None
    row_of = {str(name): row for row, name in enumerate(known.ids)}
    rows: dict[str, list[np.ndarray]] = defaultdict(list)
    for entry in train:
        rows[str(entry["color"])].append(known.colors[row_of[str(entry["object_id"])]])
    words = sorted(rows)
    centres = np.stack([np.median(rows[word], axis=0) for word in words])  # [K,3]
    squares = np.square(asked.colors[:, None] - centres[None]).sum(axis=2)  # [n,K]
    best = squares.round(9).argmin(axis=1)
    return {str(name): words[k] for name, k in zip(asked.ids, best.tolist(), strict=True)}


def recolor(text: str, old: str, new: str) -> str:
    """Replace the first colour word of a text, and "a" or "an" before it."""

    def replaced(match: re.Match[str]) -> str:
        return new if match.group(1) is None else with_article(new)

    return re.sub(rf"(?:\b(an?) )?\b{re.escape(old)}\b", replaced, text, count=1)


def has_word(text: str, word: str) -> bool:
    """Return whether a text holds a word."""
    return re.search(rf"\b{re.escape(word)}\b", text) is not None


def color_in(text: str, words: Sequence[str]) -> str | None:
    """Return the first colour word of a text."""
    found = [(m.start(), w) for w in words if (m := re.search(rf"\b{re.escape(w)}\b", text))]
    return min(found)[1] if found else None
