"""Matching of candidate pairs by a Reranker: each rank matches the pairs of its own objects.

Tokens are kept while a rank's share fits `TOKEN_BYTES`. A larger share is read and encoded again,
block by block: one more pass of the encoder, which costs little compared with matching many
pairs per object, and needs neither the memory nor the disk of N x tokens x width (36 GB for 46,000
objects of 513 tokens of 384).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from lavis.common.dist_utils import broadcast_object, gather_object_list, is_main_process
from lavis.datasets.data_utils import move_to_device
from lavis.tasks.pair_scores import PairScores

PAIRS_PER_BATCH = 128
TOKEN_BYTES = 2**29

Tokens = tuple[list[str], Tensor]  # ids of b objects and their tokens [b,G,D]


class TokenStore:
    """The tokens of a rank's objects, or the way to read them again.

    Args:
        model: a Reranker.
        data_loader: the rank's share.
        limit: bytes of tokens that are held at once.
    """

    def __init__(self, model: Any, data_loader: Iterable[Any], limit: int = TOKEN_BYTES) -> None:
        self.model, self.data_loader, self.limit = model, data_loader, limit
        self._kept: list[Tokens] | None = []

    def add(self, ids: list[str], tokens: Tensor) -> None:
        """Keep a batch's tokens unless the share is larger than the limit."""
        if self._kept is not None:
            self._kept.append((ids, tokens.cpu()))
            if sum(tokens.nbytes for _, tokens in self._kept) > self.limit:
                self._kept = None

    def blocks(self) -> Iterator[Tokens]:
        """Yield the tokens of all objects, `limit` bytes at a time.

        A block is overwritten by the next one. Batches are written to one buffer as they come:
        held as a list they would leave holes in the heap that glibc does not use again
        (4 GB for blocks of 0.5 GB).
        """
        if self._kept is not None:
            kept, self._kept = self._kept, None
            yield from _joined(kept)
            return
        ids: list[str] = []
        whole = torch.empty(0)
        for samples in self.data_loader:
            samples = move_to_device(samples, self.model.device)
            _, tokens = self.model.embed_for_matching(samples)
            if not len(whole):
                first = len(tokens)
                rows = max(first, self.limit // tokens[0].nbytes)
                whole = torch.empty(rows, *tokens.shape[1:], dtype=tokens.dtype)
            if len(ids) + max(first, len(tokens)) > len(whole):
                yield ids, whole[: len(ids)]
                ids = []
            whole[len(ids) : len(ids) + len(tokens)] = tokens
            ids += map(str, samples["instance_id"])
        if ids:
            yield ids, whole[: len(ids)]


def _joined(parts: list[Tokens]) -> Iterator[Tokens]:
    """Yield batches as one block, freeing each; nothing where there are none."""
    if not parts:
        return
    ids = [name for own, _ in parts for name in own]
    whole = torch.empty(len(ids), *parts[0][1].shape[1:], dtype=parts[0][1].dtype)
    begin = 0
    while parts:
        tokens = parts.pop(0)[1]
        whole[begin : begin + len(tokens)] = tokens
        begin += len(tokens)
    yield ids, whole


@torch.no_grad()
def match_candidates(pairs: PairScores | None, store: TokenStore, k_test: int) -> None:
    """Match the candidates of both directions; all ranks call this, rank 0 has `pairs`.

    Args:
        pairs: the scores to re-rank; None on other ranks.
        store: tokens of this rank's objects.
        k_test: candidates of each side.
    """
    asked: Any = None
    if pairs is not None:
        asked = (pairs.ids, pairs.texts, pairs.choose_candidates(k_test))
    ids, texts, wanted = broadcast_object(asked)
    found = gather_object_list(match_own(store, ids, texts, wanted))
    if pairs is not None and pairs.candidates:
        own_pairs, scores = zip(*found, strict=True)
        pairs.set_matching(torch.cat(own_pairs), torch.cat(scores))


def match_own(
    store: TokenStore, ids: list[str], texts: list[str], wanted: Tensor
) -> tuple[Tensor, Tensor]:
    """Match the pairs of this rank's objects: pairs [m,2] and their log-odds [m]."""
    if not len(wanted):
        return wanted, torch.empty(0)
    row_of = {name: row for row, name in enumerate(ids)}
    lengths = torch.tensor([len(text) for text in texts])
    done, scores = [wanted[:0]], [torch.empty(0)]
    for names, tokens in store.blocks():
        place = torch.full((len(ids),), -1)
        place[[row_of[name] for name in names]] = torch.arange(len(names))
        pairs = wanted[place[wanted[:, 0]] >= 0]
        # Pairs of similar caption length share a batch, so little padding is computed.
        pairs = pairs[lengths[pairs[:, 1]].argsort(stable=True)]
        batches = pairs.split(PAIRS_PER_BATCH) if len(pairs) else ()
        for batch in tqdm(batches, desc="match pairs", disable=not is_main_process()):
            own = tokens[place[batch[:, 0]]].to(store.model.device)
            asked = [texts[column] for column in batch[:, 1].tolist()]
            scores.append(store.model.match_scores(own, asked).cpu())
        done.append(pairs)
    return torch.cat(done), torch.cat(scores)
