"""Split by what would leak: variants of a base part, equal geometry, equal text stay together."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from lavis.common.errors import DataError, explain
from lavis.datasets.download_scripts.bricks_text import stable_hash

SPLITS = ("train", "val", "test")
FRACTIONS = {"train": 0.8, "val": 0.1, "test": 0.1}
_BASE = re.compile(r"^[a-z]*\d+")


def base_id(part_id: str) -> str:
    """Return the mould's number: "3626cp30" -> "3626", "973p13" -> "973", "u9105p01" -> "u9105".

    Everything after the first number is a variant: letter, print, assembly, shortcut. A letter in
    front belongs to the number ("u" unknown, "t" third-party: u9105 and 9105 are other parts).
    """
    match = _BASE.match(part_id)
    return match.group(0) if match else part_id


class Groups:
    """Union-find over strings."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def find(self, item: str) -> str:
        """Return the representative of the group of `item`."""
        self._parent.setdefault(item, item)
        root = item
        while self._parent[root] != root:
            root = self._parent[root]
        while self._parent[item] != root:
            self._parent[item], item = root, self._parent[item]
        return root

    def union(self, first: str, second: str) -> None:
        """Join two groups; the smaller name represents both, whatever the order of calls."""
        a, b = sorted((self.find(first), self.find(second)))
        self._parent[b] = a


def leak_groups(records: Iterable[Mapping[str, str]]) -> Groups:
    """Join base ids that share a geometry or a description.

    Args:
        records: each with object_id, base_id, geometry, description. Duplicates that the data set
            leaves out belong in here too: they link the bases of two parts that look the same.
    """
    groups = Groups()
    for record in records:
        base = "base:" + record["base_id"]
        groups.union(base, "geometry:" + record["geometry"])
        groups.union(base, "text:" + record["description"].lower())
    return groups


def assign_splits(
    records: Sequence[Mapping[str, str]], groups: Groups, seed: int
) -> dict[str, str]:
    """Return {object_id: split}, 80/10/10 within each category as closely as groups allow.

    Groups are visited in the order of a hash; each goes where its category lacks most, then where
    the whole data set lacks most.
    """
    members: dict[str, list[Mapping[str, str]]] = defaultdict(list)
    for record in records:
        members[groups.find("base:" + record["base_id"])].append(record)
    order = sorted(members, key=lambda group: (stable_hash(f"split:{seed}:{group}"), group))
    in_category: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(SPLITS, 0))
    overall = dict.fromkeys(SPLITS, 0)
    chosen: dict[str, str] = {}
    for group in order:
        category = _main_category(members[group])
        size = len(members[group])
        counts = in_category[category]

        def lack(split: str, counts: dict[str, int] = counts, size: int = size) -> float:
            local = FRACTIONS[split] * (sum(counts.values()) + size) - counts[split]
            total = FRACTIONS[split] * (sum(overall.values()) + size) - overall[split]
            # The whole-set term only breaks ties of small categories, all of which start alike.
            return local + 0.01 * total

        split = max(SPLITS, key=lack)
        counts[split] += size
        overall[split] += size
        chosen.update({record["object_id"]: split for record in members[group]})
    return chosen


def check_no_leak(records: Iterable[Mapping[str, str]], split_of: Mapping[str, str]) -> None:
    """Raise DataError when a base id, a geometry or a description is in two splits."""
    for key in ("base_id", "geometry", "description"):
        seen: dict[str, str] = {}
        for record in records:
            value = record[key].lower()
            split = split_of[record["object_id"]]
            if seen.setdefault(value, split) != split:
                raise DataError(
                    explain(
                        f"{key} leaks between splits",
                        where=record["object_id"],
                        got=f"{value[:60]!r} in {seen[value]} and {split}",
                    )
                )


def _main_category(members: Sequence[Mapping[str, str]]) -> str:
    names = [record["category"] for record in members]
    return max(sorted(set(names)), key=names.count)
