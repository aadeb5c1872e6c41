"""Annotation files, deterministic subsets, and the random generator of one sample."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from lavis.common.errors import ConfigError, DataError
from lavis.common.text_files import read_json
from lavis.datasets.datasets.record_texts import Entry, is_missing, one_text_each


def sample_rng(seed: int, epoch: int, instance_id: str) -> np.random.Generator:
    """Return the generator of one sample in one epoch."""
    digest = hashlib.sha256(instance_id.encode("utf-8")).digest()
    return np.random.default_rng([seed, epoch, int.from_bytes(digest[:8], "big")])


def take(entries: list[Entry], limit: int | None, id_key: str) -> list[Entry]:
    """Keep `limit` records by the order of a hash of their id; the file's order stays."""
    if limit is None or limit >= len(entries):
        return entries

    def rank(place: int) -> bytes:
        return hashlib.sha256(str(entries[place].get(id_key)).encode("utf-8")).digest()

    chosen = sorted(range(len(entries)), key=rank)[:limit]
    return [entries[place] for place in sorted(chosen)]


def repeat_records(entries: Sequence[Entry], times: Callable[[Entry], int]) -> list[Entry]:
    """Name each record so many times; copies have instance ids of their own.

    Augmentation and text draws follow the instance id, so that copies differ.
    """
    return [
        entry if copy == 0 else {**entry, "instance_id": f"{entry['instance_id']}#{copy}"}
        for entry in entries
        for copy in range(times(entry))
    ]


def draw_field(weights: Mapping[str, float], rng: np.random.Generator) -> str:
    """Draw the name of a text field with a probability in proportion to its weight."""
    shares = np.array(list(weights.values()), dtype=np.float64)
    return list(weights)[rng.choice(len(shares), p=shares / shares.sum())]


def choose_text(entries: list[Entry], field: str) -> list[Entry]:
    """Return records whose `caption` is what `field` holds.

    Raises:
        DataError: a record lacks the field.
    """
    if field == "caption":
        return entries
    for entry in entries:
        if is_missing(entry.get(field)):
            raise DataError(
                "a record lacks the text that serves as its caption",
                where=f"build_info.text_field={field}, object {entry.get('object_id')!r}",
                got=sorted(entry),
                expected=field,
            )
    return [_with_caption(one_text_each(entry), field) for entry in entries]


def _with_caption(entry: Entry, field: str) -> Entry:
    texts = dict(entry.get("texts", {}))
    texts.pop("caption", None)
    if field in texts:
        texts["caption"] = texts[field]
    return {**entry, "caption": entry[field], **({"texts": texts} if "texts" in entry else {})}


def check_text_weights(weights: Mapping[str, float], entries: Sequence[Entry]) -> None:
    """Make sure that every record has the texts that training draws from; no weights: no check.

    Raises:
        ConfigError: a weight is negative or no number, or all are 0.
        DataError: a record lacks a field.
    """
    if not weights:
        return
    where = "build_info.text_weights"
    bad = any(not isinstance(weight, int | float) or weight < 0 for weight in weights.values())
    if bad or sum(weights.values()) <= 0:
        raise ConfigError(
            "the weights of the text fields cannot be used",
            where=where,
            got=dict(weights),
            expected="numbers of at least 0, not all 0",
        )
    for entry in entries:
        absent = [field for field in weights if is_missing(entry.get(field))]
        if absent:
            raise DataError(
                "a record lacks a field that training texts are drawn from",
                where=f"{where}, record {entry.get('instance_id')!r}",
                got=sorted(entry),
                expected=absent,
                fix="annotate the field, or take it out of text_weights",
            )


def read_annotation(paths: Sequence[str | Path]) -> list[Entry]:
    """Read and join JSON lists of records.

    Raises:
        DataError: a file is missing, not JSON, or not a list of records.
    """
    entries: list[Entry] = []
    for path in paths:
        try:
            content = read_json(path)
        except (OSError, ValueError) as error:
            raise _bad_annotation(path, str(error)) from error
        if not isinstance(content, list) or not all(isinstance(e, Mapping) for e in content):
            raise _bad_annotation(path, type(content).__name__)
        entries += content
    return entries


def _bad_annotation(path: str | Path, got: str) -> DataError:
    return DataError(
        "an annotation file cannot be read",
        where=str(path),
        got=got,
        expected="a JSON list of records",
        fix="check build_info.annotations.*.storage",
    )
