"""The embeddings of a split, gathered to rank 0 batch by batch.

Each rank embeds its share; rank 0 receives one batch of every rank at a time and writes it to its
place, so that no rank holds more than its own share and rank 0 no array twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lavis.common.dist_utils import all_gather_object_list, gather_object_list, is_main_process


@dataclass
class Share:
    """What one rank embedded, in the order of its loader.

    Attributes:
        ids, texts, sounds: of the items; the class of a sound is "" where it is not known.
        embeds: {modality: batches [b,E] | [b,Q,E] on the CPU}; the same keys on every rank.
    """

    ids: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    sounds: list[str] = field(default_factory=list)
    embeds: dict[str, list[Tensor]] = field(default_factory=dict)

    def add(self, samples: dict[str, Any], embeds: dict[str, Tensor]) -> None:
        """Append a batch."""
        self.ids += map(str, samples["instance_id"])
        self.texts += samples["text_input"]
        self.sounds += samples.get("audio_class", [""] * len(samples["instance_id"]))
        for modality, values in embeds.items():
            self.embeds.setdefault(modality, []).append(values.cpu())


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
    embeds = {m: _gather_rows(share.embeds.pop(m, []), places, len(ids)) for m in modalities}
    if not is_main_process():
        return None
    return Gallery(
        [ids[k] for k in order],
        [texts[k] for k in order],
        {name: rows for name, rows in embeds.items() if rows is not None},
        [sounds[k] for k in order],
    )


def _gather_rows(parts: list[Tensor], places: list[Tensor], size: int) -> Tensor | None:
    """Write every rank's batches to their rows [size,...] on rank 0; `parts` is emptied."""
    whole: Tensor | None = None
    begins = [0] * len(places)
    for _ in range(max(all_gather_object_list(len(parts)))):
        blocks = gather_object_list(parts.pop(0) if parts else None)
        for rank, block in enumerate(blocks):
            if block is None:
                continue
            if whole is None:
                whole = torch.empty(size, *block.shape[1:], dtype=block.dtype)
            end = begins[rank] + len(block)
            whole[places[rank][begins[rank] : end]] = block
            begins[rank] = end
    return whole
