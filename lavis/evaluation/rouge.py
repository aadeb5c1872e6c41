"""ROUGE-L [Lin 2004] of all captions at once: beta 1.2, best precision and best recall over refs.

Same values as pycocoevalcap. The longest common subsequence is bit-parallel: one machine word holds
a caption of up to 63 words and one step of additions handles all captions of a block. Longer
captions take the same recurrence on Python integers.

References: H. Hyyro, "Bit-parallel LCS-length computation revisited", 2004.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lavis.evaluation.ngrams import Corpus

BETA = 1.2
WORD_BITS = 63
_BLOCK = 4096  # pairs per block: [block,T,T] comparisons stay in the cache


def rouge_l_per_item(corpus: Corpus) -> np.ndarray:
    """ROUGE-L of each item, [N] float64 in 0..1; an empty hypothesis scores 0."""
    n = corpus.n_items
    item, length = corpus.item[n:], corpus.length
    common = common_lengths(corpus).astype(np.float64)  # [references]
    own_length = np.maximum(length[:n], 1).astype(np.float64)
    precision, recall = np.zeros(n), np.zeros(n)
    np.maximum.at(precision, item, common / own_length[item])
    np.maximum.at(recall, item, common / length[n:])
    score = (1 + BETA**2) * precision * recall
    scale = recall + BETA**2 * precision
    return np.divide(score, scale, out=np.zeros(n), where=score > 0)


def common_lengths(corpus: Corpus) -> np.ndarray:
    """Longest common subsequence of every reference with its item's hypothesis, [references]."""
    n, length = corpus.n_items, corpus.length
    start = np.cumsum(length) - length  # [captions]
    hypothesis, reference = corpus.item[n:], np.arange(n, len(length))
    result = np.zeros(len(reference), dtype=np.int64)
    # Pairs of similar length share a block, so that little padding is compared.
    longest = np.maximum(length[hypothesis], length[reference])
    order = np.argsort(longest, kind="stable")
    n_short = int(np.searchsorted(longest[order], WORD_BITS, side="right"))
    for begin in range(0, n_short, _BLOCK):
        rows = order[begin : min(begin + _BLOCK, n_short)]
        first = _padded(corpus.words, start, length, hypothesis[rows], -1)
        second = _padded(corpus.words, start, length, reference[rows], -2)
        result[rows] = _common_of_block(first, second)
    for row in order[n_short:].tolist():
        texts = [
            corpus.words[start[c] : start[c] + length[c]].tolist()
            for c in (hypothesis[row], reference[row])
        ]
        result[row] = longest_common_subsequence(*texts)
    return result


def _padded(
    words: np.ndarray, start: np.ndarray, length: np.ndarray, captions: np.ndarray, filler: int
) -> np.ndarray:
    """Words of some captions as [T,B], filled up behind each end."""
    width = int(length[captions].max(initial=0))
    position = np.arange(width)[:, None]
    inside = position < length[captions]  # [T,B]
    index = np.where(inside, start[captions] + position, 0)
    return np.where(inside, words[index] if len(words) else filler, filler)


def _common_of_block(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Common lengths [B] of first [T,B] and second [S,B]."""
    bits = np.uint64(1) << np.arange(len(first), dtype=np.uint64)[:, None]  # [T,1]
    full = np.uint64((1 << len(first)) - 1)
    unmatched = np.full(first.shape[1], full)
    for word in second:  # [B]
        hit = unmatched & np.where(first == word, bits, 0).sum(axis=0, dtype=np.uint64)
        unmatched = ((unmatched + hit) | (unmatched - hit)) & full
    return len(first) - np.bitwise_count(unmatched).astype(np.int64)


def longest_common_subsequence(first: Sequence[object], second: Sequence[object]) -> int:
    """Length of the longest common subsequence, bit-parallel in one Python integer."""
    where: dict[object, int] = {}
    for position, word in enumerate(first):
        where[word] = where.get(word, 0) | (1 << position)
    full = (1 << len(first)) - 1
    unmatched = full
    for word in second:
        hit = unmatched & where.get(word, 0)
        unmatched = ((unmatched + hit) | (unmatched - hit)) & full
    return len(first) - unmatched.bit_count()
