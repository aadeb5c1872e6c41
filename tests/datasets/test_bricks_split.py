"""No base part, geometry or description is in two splits: on all real parts."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest

from lavis.common.errors import DataError
from lavis.datasets.download_scripts.bricks_split import (
    assign_splits,
    check_no_leak,
    leak_groups,
)


@pytest.fixture(scope="module")
def split_of(all_parts) -> dict[str, str]:
    """The split of every part."""
    return assign_splits(all_parts, leak_groups(all_parts), seed=0)


@pytest.mark.parametrize("key", ["base_id", "geometry", "description"])
def test_nothing_crosses_splits(all_parts, split_of, key: str) -> None:
    splits = defaultdict(set)
    for part in all_parts:
        splits[part[key].lower()].add(split_of[part["object_id"]])
    assert [value for value, seen in splits.items() if len(seen) > 1] == []


def test_shares_are_80_10_10_overall_and_in_large_categories(all_parts, split_of) -> None:
    counts = Counter(split_of.values())
    assert counts["train"] / len(all_parts) == pytest.approx(0.8, abs=0.005)
    assert counts["test"] / len(all_parts) == pytest.approx(0.1, abs=0.005)
    by_category = defaultdict(Counter)
    for part in all_parts:
        by_category[part["category"]][split_of[part["object_id"]]] += 1
    for category, counts in by_category.items():
        if counts.total() >= 200:
            assert counts["test"] / counts.total() == pytest.approx(0.1, abs=0.03), category


def test_order_of_records_does_not_matter(all_parts, split_of) -> None:
    backwards = all_parts[::-1]
    assert assign_splits(backwards, leak_groups(backwards), seed=0) == split_of


def test_another_seed_splits_otherwise(all_parts, split_of) -> None:
    other = assign_splits(all_parts, leak_groups(all_parts), seed=1)
    assert other != split_of


def test_left_out_duplicate_links_two_bases() -> None:
    def part(object_id: str, base: str, geometry: str) -> dict[str, str]:
        facts = {"object_id": object_id, "base_id": base, "geometry": geometry}
        return facts | {"description": f"text {object_id}"}

    groups = leak_groups([part("1", "1", "g"), part("2", "2", "g"), part("2a", "2", "h")])
    assert groups.find("base:1") == groups.find("base:2")
    assert groups.find("base:1") == groups.find("geometry:h")


def test_leak_is_noticed(all_parts, split_of) -> None:
    crossed = dict(split_of)
    by_base = defaultdict(list)
    for part in all_parts:
        by_base[part["base_id"]].append(part["object_id"])
    first, second = next(ids for ids in by_base.values() if len(ids) > 1)[:2]
    crossed[first], crossed[second] = "train", "test"
    with pytest.raises(DataError, match="leaks"):
        check_no_leak(all_parts, crossed)
