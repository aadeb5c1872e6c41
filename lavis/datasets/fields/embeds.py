"""Embeddings that a frozen teacher computed before: one file for a data set."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from lavis.common.errors import DataError, explain
from lavis.datasets.datasets.annotations import Entry
from lavis.datasets.samples import Sample


class EmbedsLoader:
    """Load `image_embeds` float32 [V,E] and their mask bool [V] of an object.

    An object without an entry has no embedding; the batch's mask marks it.

    Args:
        path: of a safetensors file with the tensor `name` [N,V,E] and the metadata `ids` (JSON, N
            names) and `space` (lavis/models/teachers/embed_views.py writes one).
        name: of the field.
        views: the first so many of an object; None: all.

    Attributes:
        path: of the file.
        space: of the teacher, as `Teacher.space`; None: unknown.

    Raises:
        DataError: no such file, a damaged one, or another content.
    """

    stream = "embeds:"

    def __init__(self, path: str | Path, name: str = "image_embeds", views: int | None = None):
        self.name, self.path = name, Path(path)
        try:
            with safe_open(path, "np") as file:
                facts, embeds = file.metadata() or {}, file.get_tensor(name)
            ids = json.loads(facts["ids"])
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            what = "a file of embeddings cannot be read"
            expected = f"the tensor {name} [N,V,E] and the names of N objects"
            fix = "write it again: python -m lavis.models.teachers.embed_views"
            message = explain(what, where=str(path), got=repr(error), expected=expected, fix=fix)
            raise DataError(message) from error
        if embeds.ndim != 3 or len(ids) != len(embeds):
            what, got = "embeddings and names differ", f"{list(embeds.shape)}, {len(ids)} names"
            raise DataError(explain(what, where=str(path), got=got, expected="[N,V,E], N names"))
        self.embeds: np.ndarray = embeds[:, :views]
        self.row_of = {str(object_id): row for row, object_id in enumerate(ids)}
        self.space = facts.get("space")

    def __contains__(self, object_id: object) -> bool:
        return str(object_id) in self.row_of

    def load(self, record: Entry, rng: np.random.Generator) -> Sample:
        """Return the embeddings of an object's views."""
        row = self.row_of.get(str(record["object_id"]))
        if row is None:
            return {}
        embeds = torch.from_numpy(self.embeds[row].astype(np.float32))
        return {self.name: embeds, f"{self.name}_mask": torch.ones(len(embeds), dtype=torch.bool)}
