"""Splits of own objects: a hash of the group decides, as of the bricks.

The group is the user's group key, else the geometry. An object that is added moves no other one:
at most it takes an object of equal geometry out of training, when it is in an evaluation itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lavis.datasets.download_scripts.bricks_text import stable_hash

RULE = "sha256(own-v1:group) below test, test + val, else train; equal geometry never in two"
LEFT_OUT = "left_out"
_PRIORITY = ("test", "val", "train")


class Member(NamedTuple):
    """What decides the split of an object: keys may be "" where the user gives none."""

    object_id: str
    geometry: str
    group: str = ""
    split: str = ""


def group_of(member: Member) -> str:
    """Return the group of an object."""
    return f"group:{member.group}" if member.group else f"geometry:{member.geometry}"


def split_objects(members: Sequence[Member], val: float, test: float) -> dict[str, str]:
    """Return {object id: split}; `LEFT_OUT` for objects whose geometry is in an earlier split.

    Args:
        members: the objects; a split that the user gives is kept.
        val, test: shares of the groups.
    """
    chosen = {m.object_id: m.split or _hashed(group_of(m), val, test) for m in members}
    first = _first_split(members, chosen)
    return {
        m.object_id: chosen[m.object_id] if chosen[m.object_id] == first[m.geometry] else LEFT_OUT
        for m in members
    }


def _hashed(group: str, val: float, test: float) -> str:
    share = stable_hash(f"own-v1:{group}") / 2**64
    return "test" if share < test else "val" if share < test + val else "train"


def _first_split(members: Sequence[Member], chosen: Mapping[str, str]) -> dict[str, str]:
    """Return {geometry: split that keeps it}: of several the one before the others in priority."""
    found: dict[str, str] = {}
    for member in members:
        splits = [
            chosen[member.object_id],
            *([found[member.geometry]] if member.geometry in found else []),
        ]
        found[member.geometry] = min(splits, key=_PRIORITY.index)
    return found
