"""Fields of samples and batches, and collation.

    FIELDS["semantic_label"]               shape, collation and dtype of a known field
    batch = collate([dataset[0], dataset[1]])
    batch_size(batch); select(batch, torch.tensor([1]))

Clouds of different size are padded to the largest, and `lengths` [B] holds their numbers of points;
clouds of one size have no `lengths`. A field that `FIELDS` does not name is collated by its values:
arrays and tensors of one shape are stacked, everything else stays a list. A source with a field of
its own names it once, at import: `register_field("depth", Field("[B,V,H,W]"))`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lavis.common.errors import ConfigError, DataError

Sample = dict[str, Any]
Batch = dict[str, Any]

LENGTHS = "lengths"


@dataclass(frozen=True)
class Field:
    """Collation of one field of a batch.

    Attributes:
        shape: of the batched field, e.g. "[B,N,C]".
        collate: stack (samples of one shape), pad (the first axis of a sample differs), or list.
        per_point: one row per point of the cloud; transforms keep the rows in step with the points.
        dtype: of the batched tensor; None keeps that of the samples.
        fill: value of the padding.
        mask: name of the boolean field that marks real rows, not padding or absent samples. A
            field with a mask may be absent from some samples of a batch.
    """

    shape: str
    collate: Literal["stack", "pad", "list"] = "stack"
    per_point: bool = False
    dtype: torch.dtype | None = None
    fill: float = 0.0
    mask: str | None = None

    def __post_init__(self) -> None:
        if self.per_point and self.collate != "pad":
            raise ConfigError("per-point fields are padded", got=self, expected="pad")


def _points(shape: str, dtype: torch.dtype = torch.float32, fill: float = 0.0) -> Field:
    return Field(shape, "pad", per_point=True, dtype=dtype, fill=fill)


FIELDS: dict[str, Field] = {
    # one row per point
    "point_cloud": _points("[B,N,3|6]"),  # xyz in the unit sphere, rgb in [0,1]
    "normal": _points("[B,N,3]"),
    "semantic_label": _points("[B,N]", torch.int64, fill=-1),
    "instance_label": _points("[B,N]", torch.int64, fill=-1),
    "pixel_of_point": _points("[B,N,2]", torch.int64, fill=-1),  # column and row; -1: none
    # one per object
    LENGTHS: Field("[B]", dtype=torch.int64),
    "box_size": Field("[B,3]", dtype=torch.float32),  # NaN: unknown
    "label": Field("[B]", dtype=torch.int64),
    "boxes": Field("list of [K,6|7]", "list"),
    # whose neighbours' texts are retrieved, under a control (evaluation/controls.py)
    "lookup_cloud": Field("list of [N,3|6]", "list"),
    "lookup_box": Field("[B,3]", dtype=torch.float32),
    # other modalities
    "image": Field("[B,V,3,H,W]", "pad", mask="image_mask"),
    "image_mask": Field("[B,V]", "pad", dtype=torch.bool),
    "image_embeds": Field("[B,V,E]", "pad", mask="image_embeds_mask"),
    "image_embeds_mask": Field("[B,V]", "pad", dtype=torch.bool),
    "audio_embeds": Field("[B,V,E]", "pad", mask="audio_embeds_mask"),
    "audio_embeds_mask": Field("[B,V]", "pad", dtype=torch.bool),
    "audio": Field("[B,T]", "pad", mask="audio_mask"),
    "audio_mask": Field("[B,T]", "pad", dtype=torch.bool),
    "text_embeds": Field("[B,E]", mask="text_embeds_mask"),
    "text_embeds_mask": Field("[B]", dtype=torch.bool),
    # texts and ids
    **dict.fromkeys(
        ("text_input", "instance_id", "object_id", "caption", "question", "answer", "answers"),
        Field("list of B", "list"),
    ),
}


def register_field(name: str, field: Field) -> None:
    """Add a field to the table.

    Raises:
        ConfigError: the name is taken by another field.
    """
    if FIELDS.setdefault(name, field) != field:
        raise ConfigError(
            "a field of this name exists", where=name, got=field, expected=FIELDS[name]
        )


def collate(samples: Sequence[Sample]) -> Batch:
    """Make a batch of samples.

    A field that some samples lack is left out, unless it has a mask: then the absent rows are
    zeros that the mask marks.

    Raises:
        DataError: no sample, per-point fields of different length in a sample, or shapes that
            cannot be stacked; the sample is named.
    """
    if not samples:
        raise DataError("a batch without samples cannot be collated")
    batch: Batch = {}
    names = dict.fromkeys(name for sample in samples for name in sample)
    for name in names:
        field = FIELDS.get(name)
        present = sum(name in sample for sample in samples)
        if present < len(samples) and (field is None or field.mask is None):
            continue
        batch.update(_collate_field(name, field, samples))
    return batch | _lengths(samples, batch)


def _collate_field(name: str, field: Field | None, samples: Sequence[Sample]) -> Batch:
    """Return the batched field and, where it has one, its mask."""
    values = [sample.get(name) for sample in samples]
    if field is None:
        arrays = all(isinstance(value, (np.ndarray, Tensor)) for value in values)
        field = Field("", "stack" if arrays else "list")
    if field.collate == "list":
        return {name: values}
    like = torch.as_tensor(next(value for value in values if value is not None))
    absent = torch.zeros_like(like[:0] if field.collate == "pad" else like)
    rows = [absent if value is None else torch.as_tensor(value) for value in values]
    batch = {name: _join(name, field, rows, samples)}
    if field.mask is not None:
        masks = []
        for row, sample in zip(rows, samples):
            shape = row.shape[:1] if field.collate == "pad" else ()
            own = sample.get(field.mask, torch.full(shape, name in sample))
            masks.append(torch.as_tensor(own, dtype=torch.bool))
        batch[field.mask] = _join(field.mask, FIELDS[field.mask], masks, samples)
    return batch


def _join(name: str, field: Field, tensors: Sequence[Tensor], samples: Sequence[Sample]) -> Tensor:
    """Stack tensors, padded along the first axis where the field allows it."""
    size = max(len(tensor) for tensor in tensors) if field.collate == "pad" else None
    rows = [tensor if size is None else _padded(tensor, size, field.fill) for tensor in tensors]
    for row, sample in zip(rows, samples):
        if row.shape != rows[0].shape:
            raise DataError(
                f"samples of one batch differ in the shape of {name}",
                where=_name_of(sample),
                got=tuple(row.shape),
                expected=tuple(rows[0].shape),
                fix="make the shapes equal in the processor, or register the field as padded",
            )
    joined = torch.stack(rows)
    return joined if field.dtype is None else joined.to(field.dtype)


def _padded(tensor: Tensor, size: int, fill: float) -> Tensor:
    """Lengthen the first axis to `size`; a tensor of that size stays itself."""
    if len(tensor) == size:
        return tensor
    padded = tensor.new_full((size, *tensor.shape[1:]), fill)
    padded[: len(tensor)] = tensor
    return padded


def _lengths(samples: Sequence[Sample], batch: Batch) -> Batch:
    """Return {"lengths": int64 [B]} when the clouds of a batch differ in size, else {}."""
    names = [name for name in batch if name in FIELDS and FIELDS[name].per_point]
    if not names:
        return {}
    counts = [check_equal_lengths({k: s[k] for k in names}, _name_of(s)) for s in samples]
    return {LENGTHS: torch.tensor(counts)} if len(set(counts)) > 1 else {}


def check_equal_lengths(fields: Mapping[str, Any], where: str) -> int:
    """Return the number of points that per-point fields agree on.

    Args:
        fields: arrays with one row per point.
        where: file or object, for the message.

    Raises:
        DataError: they differ.
    """
    counts = {name: len(values) for name, values in fields.items()}
    if len(set(counts.values())) > 1:
        raise DataError(
            "per-point fields differ in length",
            where=where,
            got=", ".join(f"{name}: {count}" for name, count in counts.items()),
            expected="one row per point in each",
            fix="repair the object's fields or leave it out",
        )
    return next(iter(counts.values()))


def _name_of(sample: Sample) -> str:
    return f"object {sample.get('object_id', sample.get('instance_id', '(without id)'))}"


def batch_size(batch: Any) -> int:
    """Return the number of samples of a batch: a mapping of fields, or one tensor or list."""
    for value in batch.values() if isinstance(batch, Mapping) else [batch]:
        if isinstance(value, (list, tuple)) or (isinstance(value, Tensor) and value.ndim):
            return len(value)
    return 1


def instance_ids(batch: Any) -> list[str]:
    """Return the ids of a batch's samples, [] when it has none."""
    ids = batch.get("instance_id", []) if isinstance(batch, Mapping) else []
    return [str(item) for item in (ids.tolist() if isinstance(ids, Tensor) else ids)]


def select(batch: Batch, rows: Tensor) -> Batch:
    """Return some samples of a batch; fields without rows (texts, numbers) stay as they are.

    Args:
        batch: as `collate` made it.
        rows: Long [M] indices, or bool [B].

    Raises:
        DataError: a list or tensor has another length than the batch.
    """
    index = rows.nonzero().flatten() if rows.dtype == torch.bool else rows
    size, chosen = batch_size(batch), index.tolist()
    picked: Batch = {}
    for name, value in batch.items():
        has_rows = isinstance(value, (list, tuple)) or (isinstance(value, Tensor) and value.ndim)
        if has_rows and len(value) != size:
            raise DataError(
                "a field does not fit the batch", where=name, got=len(value), expected=size
            )
        if not has_rows:
            picked[name] = value
        elif isinstance(value, Tensor):
            picked[name] = value.index_select(0, index.to(value.device))
        else:
            picked[name] = [value[row] for row in chosen]
    return picked


def group_of(record: Mapping[str, Any]) -> str:
    """Return the group of a record, such as parts of one mould; its object where it names none."""
    name = record.get("group", record.get("object_id"))
    return str(record["instance_id"] if name is None else name)
