"""Queries made of several embeddings of a joint space, and the search for the nearest objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from lavis.common.errors import ConfigError, ShapeError
from lavis.datasets.fields.embeds import EmbedsLoader


def mix_embeddings(embeds: Sequence[Tensor], weights: Sequence[float] | None = None) -> Tensor:
    """Add unit embeddings [B,E] of several modalities, by weight, to a query of unit length."""
    shares = [1.0] * len(embeds) if weights is None else list(weights)
    return F.normalize(
        torch.stack([w * e for w, e in zip(shares, embeds, strict=True)]).sum(0), dim=-1
    )


@dataclass(frozen=True)
class Found:
    """An object of a gallery.

    Attributes:
        object_id: its name.
        score: cosine of its best embedding with the query.
    """

    object_id: str
    score: float


class ObjectGallery:
    """Embeddings of objects, searched exactly: one product a query (8,000 objects: 4 ms).

    Args:
        path: of a file that the task `embedding_export` wrote.
        modality: the embeddings of which are searched, e.g. `point`.
        space: of the queries; None takes any.

    Raises:
        DataError: no such file, a damaged one, or one without the modality.
        ConfigError: embeddings of another space.
    """

    def __init__(self, path: Path, modality: str = "point", space: str | None = None) -> None:
        loader = EmbedsLoader(path, f"{modality}_embeds")
        if None not in (space, loader.space) and space != loader.space:
            what, where = "the gallery has another joint space than the query", str(path)
            raise ConfigError(what, where=where, got=loader.space, expected=space)
        self.ids = list(loader.row_of)
        self.embeds = F.normalize(torch.from_numpy(loader.embeds).float(), dim=-1)  # [N,Q,E]

    def search(self, query: Tensor, count: int = 5) -> list[Found]:
        """Return the objects nearest to a query [E], best first.

        Raises:
            ShapeError: a query of another width, or not one.
        """
        if query.shape != self.embeds.shape[-1:]:
            what, expected = "a query does not fit the gallery", list(self.embeds.shape[-1:])
            raise ShapeError(what, got=list(query.shape), expected=expected)
        scores = (self.embeds @ F.normalize(query.float(), dim=-1)).amax(1)  # [N]
        best = scores.topk(min(count, len(scores)))
        return [Found(self.ids[i], s) for i, s in zip(best.indices.tolist(), best.values.tolist())]
