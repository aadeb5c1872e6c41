"""Splits of the furniture: a hash of the frozen group decides, as with the bricks.

held_out            models of held-out classes (classes.py); what is in a group with one is left out
test, val           other groups whose hash lies below 0.2 and 0.32
train               all other groups

Two models are in one group when their geometry is equal or nearly equal at any size
(bricks_groups.py), or when their names differ only in a number or a single letter ("Square type A
plug", "Square type B plug"). Two chairs are not one group. `splits.tsv` ships group and split of
every model, since near-duplicates depend on how surfaces are sampled.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from lavis.common.errors import DataError
from lavis.common.text_files import read_text
from lavis.datasets.download_scripts.bricks_groups import Groups
from lavis.datasets.download_scripts.bricks_text import stable_hash
from lavis.datasets.download_scripts.furniture.catalogue import Model
from lavis.datasets.download_scripts.furniture.classes import HELD_OUT, class_of

VERSION = 1
SPLITS = ("train", "val", "test", "held_out")
LEFT_OUT = "left_out"
SPLIT_FILE = Path(__file__).with_name("splits.tsv")
_THRESHOLDS = (("test", 0.2), ("val", 0.32))
_COLUMNS = ("object_id", "split", "group")
_VARIANT = re.compile(r"\b([a-z]|\d+°?)\b")


class Place(NamedTuple):
    """Where a model belongs."""

    split: str
    group: str


def groups_of(models: Iterable[Model], near: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return {object id: group}, named after the group's smallest id.

    Args:
        models: all of them.
        near: pairs of ids of equal or nearly equal geometry.
    """
    groups = Groups()
    first: dict[str, str] = {}
    for model in models:
        groups.find(model.object_id)
        masked = _VARIANT.sub("#", model.name.lower())
        if "#" in masked:
            groups.union(first.setdefault(masked, model.object_id), model.object_id)
    for one, other in near:
        groups.union(one, other)
    return {model.object_id: groups.find(model.object_id) for model in models}


def split_by_rule(models: Iterable[Model], group_of: Mapping[str, str]) -> dict[str, Place]:
    """Return {object id: place} by the rule of the module docstring."""
    members: dict[str, list[Model]] = defaultdict(list)
    for model in models:
        members[group_of[model.object_id]].append(model)
    places = {}
    for group, linked in members.items():
        held_out = {m.object_id for m in linked if class_of(m.name) in HELD_OUT}
        for model in linked:
            split = "held_out" if model.object_id in held_out else LEFT_OUT
            places[model.object_id] = Place(split if held_out else _hashed(group), group)
    return places


def _hashed(group: str) -> str:
    share = stable_hash(f"furniture-v{VERSION}:{group}") / 2**64
    return next((split for split, end in _THRESHOLDS if share < end), "train")


def write_splits(path: Path, places: Mapping[str, Place]) -> None:
    """Write the split file, a line a model in order of their ids."""
    rows = [(object_id, *place) for object_id, place in sorted(places.items())]
    path.write_text("".join("\t".join(row) + "\n" for row in [_COLUMNS, *rows]), encoding="utf-8")


def read_splits(path: Path = SPLIT_FILE) -> dict[str, Place]:
    """Return {object id: place} of a split file.

    Raises:
        DataError: the file cannot be read or has other columns.
    """
    try:
        header, *rows = [line.split("\t") for line in read_text(path).splitlines()]
        if tuple(header) != _COLUMNS:
            raise ValueError(f"columns {header}")
        return {object_id: Place(split, group) for object_id, split, group in rows}
    except (OSError, ValueError) as error:
        what, fix = "the split file cannot be read", "restore the file from the repository"
        raise DataError(what, where=str(path), got=str(error), fix=fix) from error


def counts(places: Iterable[Place]) -> dict[str, int]:
    """Return the number of models of every split."""
    found = Counter(place.split for place in places)
    return {split: found[split] for split in (*SPLITS, LEFT_OUT)}
