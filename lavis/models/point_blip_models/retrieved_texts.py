"""Texts of the training objects that are nearest to a cloud, for the language model's prompt.

    model.retrieved_texts: 3        # "Similar objects: plate 2 x 4; tile 2 x 4; brick 2 x 4. …"

Retrieval-augmented captioning (SmallCap, arXiv 2209.15323) for point clouds. The pool is the whole
training split, read once before training. It is stored in the checkpoint, so that a resumed run, an
evaluation and a user without the data find the same texts. An object never finds its own text, nor
one of its group (parts of one mould): the loss would teach to copy.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lavis.common.errors import CheckpointError, ConfigError, DataError
from lavis.datasets.footprints import with_own_size
from lavis.datasets.samples import collate, group_of
from lavis.models.point_encoders.object_size import box_sizes

KEY = "model.retrieved_texts"
_TOGETHER = 64  # objects embedded at once
# A query is computed in batches of any size: sums that differ in the last bits are one distance.
_DECIMALS = 6

Samples = Mapping[str, Any]
Embed = Callable[[Samples], Tensor]  # batch -> keys [B,F], NaN where something is unknown


@dataclass(frozen=True)
class Entries:
    """The texts and keys of the M objects of the pool.

    Attributes:
        ids, groups, texts: M each; objects of one group are not each other's neighbours.
        lookup: name of what the keys are.
        versions: `data_version` of the data sets.
    """

    ids: list[str]
    groups: list[str]
    texts: list[str]
    lookup: str
    versions: list[dict[str, Any]]

    def to_tensor(self) -> Tensor:
        """Return the entries as a buffer: uint8 [L], JSON."""
        return torch.tensor(list(json.dumps(asdict(self)).encode()), dtype=torch.uint8)

    @classmethod
    def from_tensor(cls, content: Tensor) -> Entries:
        """Read what `to_tensor` wrote.

        Raises:
            CheckpointError: it is something else.
        """
        try:
            entries = cls(**json.loads(bytes(content.cpu().tolist())))
        except (ValueError, TypeError) as error:
            what = "the checkpoint's pool of retrieved texts cannot be read"
            raise CheckpointError(what, where=KEY, got=error) from error
        if not len(entries.ids) == len(entries.groups) == len(entries.texts):
            sizes = f"{len(entries.ids)}, {len(entries.groups)}, {len(entries.texts)}"
            what = "the checkpoint's pool of retrieved texts is damaged"
            raise CheckpointError(what, where=KEY, got=f"{sizes} ids, groups, texts")
        return entries


class RetrievedTexts(nn.Module):
    """The pool, as buffers of a checkpoint, and the search in it.

    Args:
        count: texts per object k.
        lookup: name of what the keys are; a pool of another one is refused.
        template: text with `{}` for the k texts, put before the prompt.
        hidden_in_training: the last columns of the keys do not count in training: features of a
            network that was trained with the pool's texts, whose neighbours are nearly always
            right there and half the time on new objects.
        own_size: replace the footprint in a text ("2 x 4") by the object's own, where it is known;
            for boxes in the unit that texts name (studs).

    Attributes:
        keys: float32 [M,F].
        content: uint8 [L], the `Entries`.
    """

    keys: Tensor
    content: Tensor

    def __init__(
        self,
        count: int,
        lookup: str,
        template: str,
        hidden_in_training: int = 0,
        own_size: bool = False,
    ) -> None:
        super().__init__()
        if "{}" not in template:
            where = "model.retrieved_prompt"
            raise ConfigError("no place for texts", where=where, got=template, expected="{}")
        self.count, self.lookup, self.template = count, lookup, template
        self.hidden_in_training, self.own_size = hidden_in_training, own_size
        self.register_buffer("keys", torch.empty(0, 0))
        self.register_buffer("content", torch.empty(0, dtype=torch.uint8))
        self.entries: Entries | None = None
        self.register_load_state_dict_pre_hook(_make_room)
        self.register_load_state_dict_post_hook(_read_entries)

    def prepare(self, datasets: Iterable[Any], embed: Embed) -> None:
        """Build the pool from the training objects of data sets; check one that is there.

        Args:
            datasets: one split each; of a data set with captions the training objects are read.
            embed: keys of a batch.

        Raises:
            ConfigError: no data set has captions, or the pool has fewer than k objects to offer.
            CheckpointError: the pool is of another version of the same data.
        """
        references = [found for found in map(_captioned_reference, datasets) if found is not None]
        if self.entries is not None:
            self._check_versions([r.data_version for r in references if r.data_version])
            return
        if not references:
            what, fix = "no captions of training objects to retrieve", "add a data set of captions"
            raise ConfigError(what, where="datasets", fix=f"{fix}, or set {KEY}: 0")
        keys, entries = read_pool(references, embed, self.lookup)
        self.keys, self.content = keys, entries.to_tensor().to(keys.device)
        self._use(entries)
        logging.info("Pool of retrieved texts: %d training objects, %s", len(keys), self.lookup)

    def _check_versions(self, versions: Sequence[Mapping[str, Any]]) -> None:
        assert self.entries is not None
        for own in self.entries.versions:
            for version in versions:
                if version.get("name") == own.get("name") and dict(version) != own:
                    what = "the checkpoint's pool of retrieved texts is of another data version"
                    fix = "evaluate on the version that the model was trained on, or train again"
                    raise CheckpointError(what, where=KEY, got=own, expected=version, fix=fix)

    def _use(self, entries: Entries) -> None:
        """Make entries the pool's, after a check that every object finds k others."""
        if entries.lookup != self.lookup:
            where, fix = "model.retrieval_lookup", "set the value that the model was trained with"
            got = f"{self.lookup}, and a pool of {entries.lookup}"
            raise ConfigError("another lookup", where=where, got=got, fix=fix)
        group_of = {name: number for number, name in enumerate(dict.fromkeys(entries.groups))}
        numbers = torch.tensor([group_of[name] for name in entries.groups])
        offered = len(numbers) - int(numbers.bincount().max())  # without the largest group
        if offered < self.count:
            what = "the pool is smaller than the number of texts to retrieve"
            got = f"{self.count} of {offered} objects outside an object's own group"
            raise ConfigError(what, where=KEY, got=got, expected=f"at most {offered}")
        self.entries, self._group_numbers = entries, numbers
        self._row_of_id = {name: row for row, name in enumerate(entries.ids)}

    def queries(self, samples: Samples, embed: Embed) -> Tensor:
        """Return the keys of a batch's objects: [B,F].

        In training an object of the pool has its stored key: augmentation would give it other
        neighbours (CIDEr of the nearest caption on val: 105.0, clouds turned by 15 degrees 95.7).
        """
        if self.entries is None:
            what, fix = (
                "no pool of texts",
                "name a checkpoint that was trained with it, or a recipe",
            )
            raise ConfigError(what, where=KEY, fix=fix)
        ids = samples.get("object_id", ())
        rows = [self._row_of_id.get(str(name), -1) for name in ids] if self.training else []
        if rows and min(rows) >= 0:
            return self.keys[torch.tensor(rows, device=self.keys.device)]
        keys = embed(samples).to(self.keys.device)
        for place, row in enumerate(rows):
            if row >= 0:
                keys[place] = self.keys[row]
        return keys

    @torch.no_grad()
    def nearest(self, keys: Tensor, ids: Sequence[str] = ()) -> Tensor:
        """Return the rows of the k nearest objects, the nearest first: int64 [B,k].

        Args:
            keys: [B,F]; entries that are NaN (an unknown size) do not count.
            ids: object ids of the queries; the group of one that is in the pool is left out.
        """
        counted = keys.shape[1] - (self.hidden_in_training if self.training else 0)
        distances = squared_distances(keys[:, :counted], self.keys[:, :counted])
        groups = self._group_numbers.to(distances.device)
        for place, name in enumerate(ids):
            own = self._row_of_id.get(str(name))
            if own is not None:
                distances[place, groups == groups[own]] = torch.inf
        order = distances.round(decimals=_DECIMALS).sort(dim=1, stable=True).indices
        return order[:, : self.count]

    def forward(self, prompts: Sequence[str], samples: Samples, embed: Embed) -> list[str]:
        """Put the texts of the nearest objects before the B prompts of a batch.

        Raises:
            ConfigError: the pool was never built, or there are no sizes for `own_size`.
        """
        return [
            f"{self.template.replace('{}', '; '.join(texts))} {prompt}"
            for texts, prompt in zip(self.texts(samples, embed), prompts, strict=True)
        ]

    def texts(self, samples: Samples, embed: Embed) -> list[list[str]]:
        """Return the k texts for each of a batch's B objects, the nearest first.

        Raises:
            ConfigError: see `forward`.
        """
        keys = self.queries(samples, embed)
        assert self.entries is not None
        rows = self.nearest(keys, samples.get("object_id", ())).tolist()
        found = [[self.entries.texts[row] for row in near] for near in rows]
        if not self.own_size:
            return found
        boxes = box_sizes(samples, "model.retrieved_own_size").cpu().numpy()
        return [
            texts if np.isnan(box).any() else [with_own_size(text, box) for text in texts]
            for texts, box in zip(found, boxes, strict=True)
        ]


def squared_distances(queries: Tensor, keys: Tensor) -> Tensor:
    """Return squared distances float64 [B,M] of rows [B,F] and [M,F], over what both know.

    An entry that is NaN in a row is unknown and does not count.
    """
    known = (~queries.isnan()).double(), (~keys.isnan()).double()
    queries, keys = queries.double().nan_to_num(), keys.double().nan_to_num()
    squares = queries.square() @ known[1].T + known[0] @ keys.square().T  # [B,M]
    return squares - 2 * queries @ keys.T


def read_pool(references: Sequence[Any], embed: Embed, lookup: str) -> tuple[Tensor, Entries]:
    """Read the training objects of data sets: keys float32 [M,F] on the CPU, and the entries.

    Args:
        references: data sets under evaluation processing, with captions.
        embed: keys of a batch.
        lookup: name of the keys.
    """
    ids, groups, texts, keys = [], [], [], []
    for reference in references:
        for begin in range(0, len(reference), _TOGETHER):
            end = min(begin + _TOGETHER, len(reference))
            with torch.no_grad():
                batch = collate([reference[row] for row in range(begin, end)])
                keys.append(embed(batch).float().cpu())
            records = reference.annotation[begin:end]
            ids += [str(record["object_id"]) for record in records]
            groups += [group_of(record) for record in records]
            texts += list(batch["text_input"])
    versions = [dict(r.data_version) for r in references if r.data_version]
    return torch.cat(keys), Entries(ids, groups, texts, lookup, versions)


def _captioned_reference(dataset: Any) -> Any | None:
    """Return the training objects of a data set with captions, under evaluation processing."""
    try:
        reference = dataset.reference_dataset()
    except (AttributeError, DataError):
        return None
    first = reference.annotation[0] if len(reference) else {}
    return reference if "caption" in first and "question" not in first else None


def _make_room(module: RetrievedTexts, state: dict[str, Any], prefix: str, *rest: Any) -> None:
    """Give the buffers the sizes of a checkpoint that holds a pool."""
    for name in ("keys", "content"):
        found, own = state.get(prefix + name), getattr(module, name)
        if found is not None and found.shape != own.shape:
            setattr(module, name, torch.empty_like(found, device=own.device))


def _read_entries(module: RetrievedTexts, incompatible: Any) -> None:
    """Read the entries of a pool that was just loaded; a run that resumes keeps its data."""
    if module.content.numel():
        before = module.entries
        module._use(Entries.from_tensor(module.content))
        module._check_versions(before.versions if before else [])
