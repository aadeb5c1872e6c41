"""Texts of the nearest training objects, mixed into the embeddings of objects.

    similarity = (1 - weight) * cosine(object, text) + weight * cosine(neighbours' texts, text)

Query expansion (Chum et al., "Total Recall", ICCV 2007) across modalities: neighbours come by the
similarity of clouds, where an embedding is surer than between cloud and text, and bring their
texts. Nothing is trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lavis.common.errors import ConfigError
from lavis.datasets.data_utils import move_to_device
from lavis.datasets.samples import group_of
from lavis.tasks.embedding import embed_objects, object_embeddings

KEY = "run.neighbour_texts"
ROWS_AT_ONCE = 512


@dataclass(frozen=True)
class NeighbourTexts:
    """The training objects of a split.

    Attributes:
        clouds, texts: unit [M,E].
        groups: M names; objects of one group (parts of one mould) are not each other's neighbours.
    """

    clouds: Tensor
    texts: Tensor
    groups: list[str]

    @classmethod
    @torch.no_grad()
    def read(cls, model: Any, dataset: Any, batch_size: int) -> NeighbourTexts | None:
        """Embed the training objects of a data set and their texts, for rank 0; else None.

        Args:
            model: a JointEmbedder.
            dataset: evaluated split.
            batch_size: objects or texts embedded at once.

        Raises:
            DataError: the data set has no training split.
            ConfigError: the model has several vectors per object.
        """
        reference = dataset.reference_dataset()
        first = move_to_device(reference.collater([reference[0]]), model.device)
        if object_embeddings(model, first).ndim != 2:
            what, fix = "neighbours' texts need one vector per object", f"{KEY}: 0"
            got = f"several vectors of {type(model).__name__}"
            raise ConfigError(what, where=KEY, got=got, fix=fix)
        clouds = embed_objects(model, reference, batch_size)
        if clouds is None:
            return None
        words = [str(reference.text_fields(r)["text_input"]) for r in reference.annotation]
        parts = [words[k : k + batch_size] for k in range(0, len(words), batch_size)]
        texts = torch.cat([model.embed_texts(part).float().cpu() for part in parts])
        return cls(torch.from_numpy(clouds), texts, [group_of(r) for r in reference.annotation])

    @torch.no_grad()
    def mixed(
        self,
        embeds: Tensor,
        groups: Sequence[str],
        count: int,
        weight: float,
        temperature: float,
    ) -> Tensor:
        """Return embeddings [N,E] whose dot product with a text is the similarity above.

        Args:
            embeds: unit [N,E] of the evaluated objects.
            groups: N names.
            count: neighbours k.
            weight: of their texts, 0 to 1.
            temperature: of the softmax of their cosines; small: the nearest alone.

        Raises:
            ConfigError: fewer than k training objects.
        """
        if count > len(self.clouds):
            got = f"{count} of {len(self.clouds)} training objects"
            raise ConfigError("more neighbours than training objects", where=KEY, got=got)
        number_of = {name: number for number, name in enumerate(self.groups)}
        own = torch.tensor([number_of[name] for name in self.groups])
        asked = torch.tensor([number_of.get(name, -1) for name in groups])
        parts = []
        for rows, group in zip(embeds.split(ROWS_AT_ONCE), asked.split(ROWS_AT_ONCE), strict=True):
            cosines = (rows @ self.clouds.T).masked_fill(group[:, None] == own, -torch.inf)
            best, place = cosines.topk(count, dim=1)
            share = (best / temperature).softmax(1)
            near = F.normalize(torch.einsum("bk,bke->be", share, self.texts[place]), dim=-1)
            parts.append((1 - weight) * rows + weight * near)
        return torch.cat(parts)
