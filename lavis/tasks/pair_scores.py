"""Scores of N objects and N texts in both directions, a block of rows at a time.

Fast contrast scores every pair; where a model re-ranks, matching scores the candidates: the pairs
in the top k of either side. A candidate's score is its contrast plus a weighted match, both
log-odds:

    cosine / temperature + ptm_weight * (matched logit - unmatched logit)

BLIP-2 adds the cosine, whose range is about 0.3, and the matched logit; a matching probability
saturates. Either hides the contrast's order of the best candidates. The N x N matrix is never
whole: rows are computed again by each pass, which costs less than matching.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lavis.tasks.embedding import similarity

OBJECT_TO_TEXT, TEXT_TO_OBJECT = DIRECTIONS = ("object_to_text", "text_to_object")
WHOLE_QUERIES = 2048
OBJECTS_PER_PRODUCT = 64  # all at once would hold [N,Q,N] products
PRODUCTS = 2**25  # at once in a larger gallery: 128 MB of float32
QUERIES_PER_BLOCK = 512


@dataclass
class Candidates:
    """What is re-ranked in one direction: the best k columns of each row.

    Attributes:
        columns: [N,k] int64.
        matching: [N,k] log-odds; empty until the pairs are matched.
    """

    columns: Tensor
    matching: Tensor = field(default_factory=lambda: torch.empty(0))


@dataclass
class PairScores:
    """Scores of every pair, in the order of `ids`.

    Attributes:
        ids, texts: N.
        object_embeds: unit [N,E] | [N,Q,E]; mixtures of unit vectors with `run.neighbour_texts`.
        text_embeds: unit [N,E].
        temperature: scalar that cosines are divided by.
        device: where products are computed.
        candidates: {direction: what is re-ranked}; {} ranks by contrast alone.
        whole: a gallery of up to this size is one block.
    """

    ids: list[str]
    texts: list[str]
    object_embeds: Tensor
    text_embeds: Tensor
    temperature: Tensor
    device: torch.device | str = "cpu"
    candidates: dict[str, Candidates] = field(default_factory=dict)
    whole: int = WHOLE_QUERIES

    @property
    def k_test(self) -> int:
        """Candidates of a row."""
        return self.candidates[OBJECT_TO_TEXT].columns.shape[1] if self.candidates else 0

    def rows(self, direction: str) -> Iterator[tuple[slice, Tensor]]:
        """Yield blocks of contrast logits [b,N]: rows are objects, or texts."""
        size = len(self.ids)
        step = size if size <= self.whole else min(self.whole, QUERIES_PER_BLOCK)
        for begin in range(0, size, step):
            block = slice(begin, min(begin + step, size))
            if direction == OBJECT_TO_TEXT:
                yield block, self._contrast(self.object_embeds[block], self.text_embeds)
            else:
                yield block, self._contrast(self.object_embeds, self.text_embeds[block]).T

    def _contrast(self, objects: Tensor, texts: Tensor) -> Tensor:
        """Return logits [n,m] of objects [n,...] and texts [m,E]."""
        texts = texts.to(self.device)
        step = OBJECTS_PER_PRODUCT
        if len(self.ids) > self.whole:
            queries = objects[0].numel() // objects.shape[-1]
            step = max(1, PRODUCTS // (queries * len(texts)))
        # One array: a list of parts would leave a hole of the size of a product between each two,
        # which glibc does not use again (3 GB at 46,000 objects).
        logits = torch.empty(len(objects), len(texts))
        for begin in range(0, len(objects), step):
            rows = slice(begin, begin + step)
            logits[rows] = similarity(objects[rows].to(self.device), texts)
        return logits.div_(self.temperature)

    def choose_candidates(self, k_test: int) -> Tensor:
        """Fill `candidates` with the top k of each side, in one pass over the products.

        Returns:
            Every (object, text) pair [M,2] of either side once, sorted.
        """
        k = min(k_test, len(self.ids))
        texts, best, objects = [], torch.empty(len(self.ids), 0), torch.empty(0)
        for block, logits in self.rows(OBJECT_TO_TEXT) if k else ():
            texts.append(logits.topk(k, dim=1).indices)
            best, objects = _merge_top(best, objects, logits.T, block.start, k)
        if k:
            self.candidates[OBJECT_TO_TEXT] = Candidates(torch.cat(texts))
            self.candidates[TEXT_TO_OBJECT] = Candidates(objects)
        keys = [self._keys(name).flatten() for name in self.candidates]
        found = torch.cat(keys).unique() if keys else torch.empty(0, dtype=torch.long)
        return torch.stack([found // len(self.ids), found % len(self.ids)], dim=1)

    def _keys(self, direction: str) -> Tensor:
        """Number the candidates' pairs: object * N + text, [N,k]."""
        columns, size = self.candidates[direction].columns, len(self.ids)
        rows = torch.arange(size)[:, None]
        return rows * size + columns if direction == OBJECT_TO_TEXT else columns * size + rows

    def set_matching(self, pairs: Tensor, scores: Tensor) -> None:
        """Store the log-odds [M] of the pairs [M,2] that `choose_candidates` returned."""
        keys, order = (pairs[:, 0] * len(self.ids) + pairs[:, 1]).sort()
        for direction, chosen in self.candidates.items():
            chosen.matching = scores[order][torch.searchsorted(keys, self._keys(direction))]

    def reranked(self, direction: str, block: slice, contrast: Tensor, weight: float) -> Tensor:
        """Return the scores [b,N] of a block of rows with weighted matching."""
        if not self.candidates:
            return contrast
        chosen = self.candidates[direction]
        return rerank(contrast, chosen.columns[block], chosen.matching[block], weight)


def _merge_top(
    best: Tensor, columns: Tensor, block: Tensor, begin: int, k: int
) -> tuple[Tensor, Tensor]:
    """Return the best k scores of rows and their columns after a further block of columns.

    Args:
        best, columns: so far, [N,j] with j <= k.
        block: scores [N,b] of the columns from `begin`.
        k: columns to keep.
    """
    top = block.topk(min(k, block.shape[1]), dim=1)
    if not best.shape[1]:
        return top.values, top.indices + begin
    scores = torch.cat([best, top.values], 1)
    kept = scores.topk(min(k, scores.shape[1]), dim=1)
    return kept.values, torch.cat([columns, top.indices + begin], 1).gather(1, kept.indices)


def rerank(contrast: Tensor, columns: Tensor, matching: Tensor, ptm_weight: float) -> Tensor:
    """Add weighted matching to each row's candidates and put the rest below, in contrast's order.

    Args:
        contrast: logits [b,N].
        columns: candidates [b,k], each row's top k.
        matching: their log-odds [b,k].
        ptm_weight: weight of matching; 0 keeps contrast's order.

    Returns:
        [b,N].
    """
    scores = contrast.gather(1, columns) + ptm_weight * matching  # [b,k]
    # The best of the rest is ranked below the worst candidate.
    gap = scores.amin(1, keepdim=True) - contrast.amax(1, keepdim=True) - 1.0
    return (contrast + gap).scatter(1, columns, scores)
