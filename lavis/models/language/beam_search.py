"""Beam search in which the beams of one object share everything that is before them.

The usual way copies the prefix' cache for every beam and reorders all caches at every step. Here
the beams are positions of one row: each step appends one token per beam to the row's cache, and a
boolean mask marks the appended tokens from which a beam descends. Keys and values are never
copied, reordered or computed twice; the prefix is read once per object.

Scores, stopping and ties are those of transformers' beam search (early_stopping=False), so both
write the same texts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

# (tokens [B,K], ancestry [B,K,n*K], step index n-1) -> logits of the next token [B,K,V]
BeamStep = Callable[[Tensor, Tensor, int], Tensor]
_NEVER = -1.0e9


@dataclass
class BeamOptions:
    """What bounds and ranks the written texts."""

    num_beams: int
    max_new_tokens: int
    end_id: int
    pad_id: int
    min_new_tokens: int = 0
    length_penalty: float = 1.0  # scores are divided by length to this power


@torch.no_grad()
def beam_search(first_logits: Tensor, step: BeamStep, options: BeamOptions) -> Tensor:
    """Write the best text for each object.

    Args:
        first_logits: of the first token [B,V], from the prefix.
        step: appends one token for each beam and returns the logits of the next.
        options: bounds and penalties.

    Returns:
        Token ids [B,L], from the first new token on, padded behind each end.
    """
    batch, beams, device = len(first_logits), options.num_beams, first_logits.device
    search = _Search(batch, options, device)
    logits = first_logits[:, None].expand(-1, beams, -1)
    ancestry = torch.zeros(batch, beams, 0, dtype=torch.bool, device=device)
    own = torch.eye(beams, dtype=torch.bool, device=device).expand(batch, -1, -1)
    for index in range(options.max_new_tokens):
        parents, tokens = search.advance(logits, index)
        if index + 1 == options.max_new_tokens or not bool(search.open.any()):
            break
        ancestry = ancestry.gather(1, parents[..., None].expand(-1, -1, ancestry.shape[2]))
        ancestry = torch.cat([ancestry, own], 2)  # [B,K,(index+1)*K]
        logits = step(tokens, ancestry, index)
    return search.best()


class _Search:
    """Running and finished beams of B objects."""

    def __init__(self, batch: int, options: BeamOptions, device: torch.device) -> None:
        self.options = options
        shape = (batch, options.num_beams)
        self.running = torch.full((*shape, 0), options.pad_id, device=device)
        self.finished = torch.full((*shape, options.max_new_tokens), options.pad_id, device=device)
        self.scores = torch.full(shape, _NEVER, device=device)
        self.scores[:, 0] = 0.0  # all beams begin alike: only the first may branch
        self.finished_scores = torch.full(shape, _NEVER, device=device)
        self.is_finished = torch.zeros(shape, dtype=torch.bool, device=device)
        self.open = torch.ones(batch, 1, dtype=torch.bool, device=device)

    def advance(self, logits: Tensor, index: int) -> tuple[Tensor, Tensor]:
        """Extend the beams by their best tokens; returns parents and tokens, each [B,K]."""
        options, beams = self.options, self.options.num_beams
        log_probs = logits.float().log_softmax(-1)
        if index < options.min_new_tokens:
            barred = torch.arange(log_probs.shape[-1], device=log_probs.device) == options.end_id
            log_probs = log_probs.masked_fill(barred, -torch.inf)
        total = (log_probs + self.scores[..., None]).flatten(1)  # [B,K*V]
        # Twice as many as beams: at most one continuation of each beam ends.
        scores, chosen = total.topk(2 * beams)
        parents, tokens = chosen // logits.shape[-1], chosen % logits.shape[-1]  # [B,2K]
        texts = self.running.gather(1, parents[..., None].expand(-1, -1, index))
        texts = torch.cat([texts, tokens[..., None]], 2)  # [B,2K,index+1]
        ended = tokens == options.end_id
        if index + 1 == options.max_new_tokens:
            ended = torch.ones_like(ended)
        kept = (scores + ended.float() * _NEVER).topk(beams).indices
        self._keep_finished(texts, scores, ended, index)
        self.running = texts.gather(1, kept[..., None].expand(-1, -1, index + 1))
        self.scores = (scores + ended.float() * _NEVER).gather(1, kept)
        self._close(index + 1)
        return parents.gather(1, kept), tokens.gather(1, kept)

    def _keep_finished(self, texts: Tensor, scores: Tensor, ended: Tensor, index: int) -> None:
        """Merge texts that just ended with the finished ones; the best K stay."""
        beams = self.options.num_beams
        among_best = torch.arange(2 * beams, device=ended.device) < beams
        ended = ended & among_best
        ranked = scores / (index + 1) ** self.options.length_penalty
        ranked = ranked + (~self.open).float() * _NEVER + (~ended).float() * _NEVER
        missing = self.finished.shape[2] - texts.shape[2]
        padded = torch.nn.functional.pad(texts, (0, missing), value=self.options.pad_id)
        merged_scores = torch.cat([self.finished_scores, ranked], 1)
        self.finished_scores, best = merged_scores.topk(beams)
        merged = torch.cat([self.finished, padded], 1)
        self.finished = merged.gather(1, best[..., None].expand(-1, -1, merged.shape[2]))
        self.is_finished = torch.cat([self.is_finished, ended], 1).gather(1, best)

    def _close(self, length: int) -> None:
        """Close objects none of whose running beams can still beat the worst finished text."""
        possible = self.scores[:, :1] / length**self.options.length_penalty
        worst = self.finished_scores.amin(1, keepdim=True)
        worst = torch.where(self.is_finished, worst, _NEVER)
        self.open = self.open & (possible > worst).any(1, keepdim=True)

    def best(self) -> Tensor:
        """Return each object's best text [B,L], padded from its end token on."""
        ids = self.finished[:, 0]
        behind = (ids == self.options.end_id).cumsum(1) > 0
        ids = ids.masked_fill(behind, self.options.pad_id)
        return ids
