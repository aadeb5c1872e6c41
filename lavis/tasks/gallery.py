"""The embeddings of a split, gathered to rank 0 batch by batch.

Each rank writes its share to one array. A single process sorts that array in place; of several,
rank 0 receives a block of every other rank at a time and writes it to its place. No array is whole
twice: 46,000 objects of 32 embeddings are 1.5 GB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lavis.common.dist_utils import (
    all_gather_object_list,
    gather_object_list,
    get_world_size,
    is_main_process,
)

ROWS_AT_ONCE = 64  # that a rank sends


@dataclass
class Share:
    """What one rank embedded, in the order of its loader.

    Attributes:
        batches: length of the loader; a batch larger than the first costs a copy.
        ids, texts, sounds: of the items; the class of a sound is "" where it is not known.
        embeds: {modality: [n,E] | [n,Q,E] on the CPU}, of which the first `len(ids)` rows are
            filled; the same keys on every rank that has items.
    """

    batches: int
    ids: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    sounds: list[str] = field(default_factory=list)
    embeds: dict[str, Tensor] = field(default_factory=dict)

    def add(self, samples: dict[str, Any], embeds: dict[str, Tensor]) -> None:
        """Append a batch."""
        begin = len(self.ids)
        self.ids += map(str, samples["instance_id"])
        self.texts += samples["text_input"]
        self.sounds += samples.get("audio_class", [""] * len(samples["instance_id"]))
        for modality, values in embeds.items():
            if modality not in self.embeds:  # rows that are never written take no memory
                rows = self.batches * len(values)
                self.embeds[modality] = values.new_empty(rows, *values.shape[1:], device="cpu")
            missing = len(self.ids) - len(self.embeds[modality])
            if missing > 0:  # a batch larger than the first
                more = values.new_empty(missing, *values.shape[1:], device="cpu")
                self.embeds[modality] = torch.cat([self.embeds[modality], more])
            self.embeds[modality][begin : len(self.ids)] = values

    def take(self, modality: str) -> Tensor | None:
        """Remove and return the embeddings of a modality, [n,E] | [n,Q,E]; None without items."""
        rows = self.embeds.pop(modality, None)
        return None if rows is None else rows[: len(self.ids)]


@dataclass
class Gallery:
    """Every item of a split, sorted by id.

    Attributes:
        ids, texts: N.
        embeds: {modality: [N,E] | [N,Q,E] on the CPU}; NaN where an item has no such modality.
        sounds: N classes of sounds, "" where it is not known.
    """

    ids: list[str]
    texts: list[str]
    embeds: dict[str, Tensor]
    sounds: list[str]


def gather_gallery(share: Share, modalities: Sequence[str]) -> Gallery | None:
    """Gather all shares on rank 0 and free them; None on other ranks."""
    labels = gather_object_list((share.ids, share.texts, share.sounds))
    ids, texts, sounds = ([one for part in labels for one in part[kind]] for kind in range(3))
    order = sorted(range(len(ids)), key=ids.__getitem__)
    place = torch.empty(len(ids), dtype=torch.long)
    place[order] = torch.arange(len(ids))
    places = list(place.split([len(own) for own, *_ in labels])) if labels else []
    embeds = {m: _gather_rows(share.take(m), places, len(ids)) for m in modalities}
    if not is_main_process():
        return None
    return Gallery(
        [ids[k] for k in order],
        [texts[k] for k in order],
        {name: rows for name, rows in embeds.items() if rows is not None},
        [sounds[k] for k in order],
    )


def _gather_rows(own: Tensor | None, places: list[Tensor], size: int) -> Tensor | None:
    """Write every rank's rows to their places [size,...] on rank 0; one process sorts its own."""
    if get_world_size() == 1:
        return None if own is None else _sort_rows(own, places[0].tolist())
    parts = [] if own is None else list(own.split(ROWS_AT_ONCE))
    whole: Tensor | None = None
    begins = [0] * len(places)
    for _ in range(max(all_gather_object_list(len(parts)))):
        # A clone, because a pickled part would carry the rows of the whole share.
        blocks = gather_object_list(parts.pop(0).clone() if parts else None)
        for rank, block in enumerate(blocks):
            if block is None:
                continue
            if whole is None:
                whole = torch.empty(size, *block.shape[1:], dtype=block.dtype)
            end = begins[rank] + len(block)
            whole[places[rank][begins[rank] : end]] = block
            begins[rank] = end
    return whole


def _sort_rows(rows: Tensor, place: list[int]) -> Tensor:
    """Move row k of [N,...] to place[k], in place by exchanges; `place` is used up."""
    for row in range(len(place)):
        while (target := place[row]) != row:
            rows[[row, target]] = rows[[target, row]]
            place[row], place[target] = place[target], target
    return rows
