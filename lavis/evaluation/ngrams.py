"""BLEU and CIDEr-D over a whole corpus from n-gram tables that are counted once.

pycocoevalcap rebuilds dictionaries of tuples for every caption and metric. Here words become
integers, n-grams of order n become dense codes (the code of order n-1 paired with the next word)
and each metric is a few array operations over one sorted table per order. The definitions are those
of pycocoevalcap, quirks included, and the tests hold both equal to 1e-6:

- BLEU [Papineni et al. 2002]: corpus counts, the closest reference length, 1e-15 / 1e-9 smoothing.
- CIDEr-D [arXiv 1411.5726]: clipped tf-idf cosine, Gaussian length penalty with sigma 6 where the
  length is the number of bigrams; idf from the references of the scored corpus; scale 0 to 10.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

MAX_ORDER = 4
SIGMA = 6.0
BLEU_COLUMNS = 2 * MAX_ORDER + 2  # correct[4], guess[4], hypothesis length, reference length

Tokens = Sequence[str]


@dataclass(frozen=True)
class NgramTable:
    """All n-grams of one order: entry e says caption[e] holds code[e] count[e] times.

    Entries are sorted by (caption, code). Captions 0..N-1 are the hypotheses, the rest references.
    """

    caption: np.ndarray  # [entries] int64
    code: np.ndarray  # [entries] int64
    count: np.ndarray  # [entries] int64
    n_codes: int


@dataclass(frozen=True)
class Corpus:
    """Hypotheses and references as one list of captions, words as numbers.

    Attributes:
        n_items: number N of scored items; captions 0..N-1 are the hypotheses, the rest references.
        item: [captions] the item of each caption.
        length: [captions] number of words.
        words: [total words] word numbers, caption after caption.
    """

    n_items: int
    item: np.ndarray
    length: np.ndarray
    words: np.ndarray

    @cached_property
    def tables(self) -> tuple[NgramTable, ...]:
        """One table per order 1..4, counted at the first use."""
        n_words = int(self.words.max(initial=-1)) + 1
        return _count_orders(self.words, self.length, n_words)


def build_corpus(hypotheses: Iterable[Tokens], references: Iterable[Iterable[Tokens]]) -> Corpus:
    """Number every word of every caption.

    Captions may be generators: each is converted to numbers and released, because a hundred
    thousand living lists of words make Python's garbage collector the slowest part of the scoring.

    Args:
        hypotheses: N lists of words, possibly empty.
        references: N groups of at least one reference each.
    """
    vocabulary: dict[str, int] = {}
    flat: list[int] = []
    length: list[int] = []

    def take(words: Tokens) -> None:
        flat.extend([vocabulary.setdefault(word, len(vocabulary)) for word in words])
        length.append(len(words))

    for words in hypotheses:
        take(words)
    n_items = len(length)
    item = list(range(n_items))
    for number, group in enumerate(references):
        for words in group:
            take(words)
            item.append(number)
    return Corpus(n_items, *(np.array(row, dtype=np.int64) for row in (item, length, flat)))


def _count_orders(words: np.ndarray, length: np.ndarray, n_words: int) -> tuple[NgramTable, ...]:
    """Build the tables of order 1..4 from the flat words [M] and the caption lengths."""
    owner = np.repeat(np.arange(len(length)), length)  # [M]
    end = np.repeat(np.cumsum(length), length)  # [M] one past the caption's last word
    start = np.arange(len(words))
    code, n_codes = words, n_words
    tables = []
    for order in range(1, MAX_ORDER + 1):
        if order > 1:
            inside = start + order <= end[start]
            start, code = start[inside], code[inside]
            distinct, code = np.unique(
                code * n_words + words[start + order - 1], return_inverse=True
            )
            n_codes = len(distinct)
        key, count = np.unique(owner[start] * max(n_codes, 1) + code, return_counts=True)
        caption, entry_code = np.divmod(key, max(n_codes, 1))
        tables.append(NgramTable(caption, entry_code, count, n_codes))
    return tuple(tables)


def _lookup(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return values[keys == wanted] for sorted unique keys, 0 where a wanted key is absent."""
    if len(keys) == 0:
        return np.zeros(len(wanted), dtype=values.dtype)
    position = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[position] == wanted, values[position], 0)


def _sum_by(index: np.ndarray, values: np.ndarray, size: int) -> np.ndarray:
    """Sum values per index, [size] float64 (bincount alone turns to integers on empty input)."""
    return np.bincount(index, values, minlength=size).astype(np.float64)


def bleu_statistics(corpus: Corpus) -> np.ndarray:
    """Per-item sufficient statistics of BLEU, whose sums give the corpus score.

    Returns:
        [N, 10] float64: clipped matches of order 1..4, n-grams of order 1..4, hypothesis length,
        length of the closest reference (the shorter one of two equally close).
    """
    n = corpus.n_items
    rows = np.zeros((n, BLEU_COLUMNS))
    for order, table in enumerate(corpus.tables):
        is_reference = table.caption >= n
        key = corpus.item[table.caption] * max(table.n_codes, 1) + table.code
        reference_key, inverse = np.unique(key[is_reference], return_inverse=True)
        largest = np.zeros(len(reference_key), dtype=np.int64)
        np.maximum.at(largest, inverse, table.count[is_reference])
        clipped = np.minimum(
            table.count[~is_reference], _lookup(reference_key, largest, key[~is_reference])
        )
        rows[:, order] = _sum_by(table.caption[~is_reference], clipped, n)
        rows[:, MAX_ORDER + order] = np.maximum(0, corpus.length[:n] - order)
    rows[:, -2] = corpus.length[:n]
    rows[:, -1] = _closest_reference_length(corpus)
    return rows


def _closest_reference_length(corpus: Corpus) -> np.ndarray:
    n = corpus.n_items
    item, length = corpus.item[n:], corpus.length[n:]
    distance = np.abs(length - corpus.length[:n][item])
    order = np.lexsort((length, distance, item))
    _, first = np.unique(item[order], return_index=True)
    return length[order][first]


def bleu_from_statistics(rows: np.ndarray) -> np.ndarray:
    """BLEU-1..4 [..., 4] from (sums of) statistics [..., 10]; pycocoevalcap's smoothing."""
    correct, guess = rows[..., :MAX_ORDER], rows[..., MAX_ORDER : 2 * MAX_ORDER]
    precision = np.cumprod((correct + 1e-15) / (guess + 1e-9), axis=-1)
    score = precision ** (1.0 / np.arange(1, MAX_ORDER + 1))
    ratio = (rows[..., -2] + 1e-15) / (rows[..., -1] + 1e-9)
    # An empty hypothesis has ratio ~0: exp(1 - 1/ratio) underflows to the right answer, 0.
    penalty = np.where(ratio < 1, np.exp(1 - 1 / np.minimum(ratio, 1.0)), 1.0)
    return score * penalty[..., None]


def cider_per_item(corpus: Corpus) -> np.ndarray:
    """CIDEr-D of each item, [N] float64 in 0..10; the corpus score is the mean."""
    n = corpus.n_items
    bigrams = np.maximum(0, corpus.length - 1)
    delta = bigrams[:n][corpus.item[n:]] - bigrams[n:]  # [references]
    penalty = np.exp(-(delta.astype(np.float64) ** 2) / (2 * SIGMA**2))
    similarity = sum(_clipped_cosine(corpus, table) for table in corpus.tables) * penalty
    n_references = np.bincount(corpus.item[n:], minlength=n)
    total = _sum_by(corpus.item[n:], similarity / MAX_ORDER, n)
    return 10.0 * total / n_references


def has_idf(corpus: Corpus) -> bool:
    """Return whether any n-gram of the references distinguishes items: else CIDEr is undefined.

    The idf of every n-gram is 0 for a single item, and where all items have the same references.
    """
    n = corpus.n_items
    for table in corpus.tables:
        is_reference = table.caption >= n
        pairs = np.stack([corpus.item[table.caption], table.code])[:, is_reference]
        document_frequency = np.bincount(np.unique(pairs, axis=1)[1])
        if np.any((document_frequency > 0) & (document_frequency < n)):
            return True
    return False


def _clipped_cosine(corpus: Corpus, table: NgramTable) -> np.ndarray:
    """Clipped tf-idf cosine between every reference and its hypothesis, [references] float64."""
    n, width = corpus.n_items, max(table.n_codes, 1)
    is_reference = table.caption >= n
    key = corpus.item[table.caption] * width + table.code
    document_frequency = np.bincount(np.unique(key[is_reference]) % width, minlength=width)
    idf = np.log(float(n)) - np.log(np.maximum(1.0, document_frequency))
    weight = table.count * idf[table.code]
    norm = np.sqrt(_sum_by(table.caption, weight**2, len(corpus.item)))
    reference_weight = weight[is_reference]
    hypothesis_weight = _lookup(key[~is_reference], weight[~is_reference], key[is_reference])
    clipped = np.minimum(hypothesis_weight, reference_weight) * reference_weight
    dot = _sum_by(table.caption[is_reference] - n, clipped, len(corpus.item) - n)
    norms = norm[n:] * norm[:n][corpus.item[n:]]
    return np.divide(dot, norms, out=np.zeros_like(dot), where=norms > 0)


def diversity(corpus: Corpus) -> dict[str, float | None]:
    """Distinct captions, vocabulary, distinct-1/2 and mean length of the hypotheses.

    The vocabulary is the number of different words; distinct-n divides the number of different
    n-grams by that of all n-grams, and is None where the hypotheses hold no n-gram.

    References: Li et al. 2016 (arXiv 1510.03055) for distinct-n.
    """
    n, end = corpus.n_items, np.cumsum(corpus.length)
    spans = zip((end - corpus.length)[:n].tolist(), end[:n].tolist())
    result: dict[str, float | None] = {
        "distinct_captions": len({corpus.words[begin:stop].tobytes() for begin, stop in spans})
    }
    for order, table in enumerate(corpus.tables[:2], start=1):
        own = table.caption < n
        total, different = int(table.count[own].sum()), len(np.unique(table.code[own]))
        result[f"distinct_{order}"] = different / total if total else None
        if order == 1:
            result["vocabulary"] = different
    result["mean_length"] = float(corpus.length[:n].mean())
    return result
