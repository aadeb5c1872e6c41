"""Splits of bricks v2: no leak on all real parts, and nobody moves when others come or go."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest

from lavis.common.errors import DataError
from lavis.datasets.download_scripts.bricks_classes import HELD_OUT, class_of, names_held_out
from lavis.datasets.download_scripts.bricks_groups import group_share, masked_description
from lavis.datasets.download_scripts.bricks_split import (
    LEFT_OUT,
    SPLITS,
    FrozenPart,
    assign_splits,
    check_no_leak,
    read_frozen,
    split_by_rule,
)


@pytest.fixture(scope="module")
def frozen() -> dict[str, FrozenPart]:
    """The shipped split file."""
    return read_frozen()


@pytest.fixture(scope="module")
def split_of(all_parts, frozen) -> dict[str, str]:
    """The split of every part."""
    return assign_splits(all_parts, frozen)[0]


def part(object_id: str, base: str, geometry: str, **facts: str) -> dict[str, str]:
    """A record of its own, unless facts say otherwise."""
    record = {"object_id": object_id, "base_id": base, "geometry": geometry}
    record |= {"description": f"thing {object_id * 3}", "ldraw_category": "Brick"}
    return record | facts


@pytest.mark.parametrize("key", ["base_id", "geometry", "description"])
def test_nothing_crosses_splits(all_parts, split_of, key: str) -> None:
    splits = defaultdict(set)
    for record in all_parts:
        value = masked_description(record[key]) if key == "description" else record[key]
        splits[value].add(split_of[record["object_id"]])
    assert [v for v, seen in splits.items() if len(seen - {LEFT_OUT}) > 1] == []


def test_mates_stay_together(all_parts, split_of) -> None:
    splits = defaultdict(set)
    for record in all_parts:
        words = record["description"].lower().split()
        if {"left", "right"} & set(words):
            sides = " ".join("side" if w in ("left", "right") else w for w in words)
            splits[sides].add(split_of[record["object_id"]])
    assert sum(len(seen) == 1 for seen in splits.values()) > 50
    assert [s for s, seen in splits.items() if len(seen - {LEFT_OUT}) > 1] == []


def test_the_shipped_file_follows_the_rule(all_parts, frozen) -> None:
    groups = {part: row.group for part, row in frozen.items()}
    assert split_by_rule(all_parts, groups) == {part: row.split for part, row in frozen.items()}


def test_no_training_text_names_a_held_out_class(all_parts, split_of) -> None:
    training = [r for r in all_parts if split_of[r["object_id"]] == "train"]
    named = [r for r in training if names_held_out(r["description"])]
    assert named == []
    classes = {class_of(r["description"], r["ldraw_category"]) for r in training}
    assert not classes & set(HELD_OUT)


def test_held_out_objects_are_of_held_out_classes(all_parts, split_of) -> None:
    held_out = [r for r in all_parts if split_of[r["object_id"]] == "held_out"]
    counts = Counter(class_of(r["description"], r["ldraw_category"]) for r in held_out)
    assert set(counts) == set(HELD_OUT)
    assert min(counts.values()) >= 15


def test_shares_of_the_splits(all_parts, split_of) -> None:
    counts = Counter(split_of.values())
    assert set(counts) == {*SPLITS, LEFT_OUT}
    assert counts["train"] / len(all_parts) == pytest.approx(0.67, abs=0.03)
    for split in ("val", "dev_test", "test_final"):
        assert 0.06 < counts[split] / len(all_parts) < 0.12, split
    assert counts[LEFT_OUT] / len(all_parts) < 0.01


@pytest.mark.parametrize("seed", range(3))
def test_dropping_five_percent_moves_nobody(all_parts, frozen, split_of, seed: int) -> None:
    kept = np.random.default_rng(seed).random(len(all_parts)) >= 0.05
    fewer = [record for record, stays in zip(all_parts, kept) if stays]
    assert 0 < len(fewer) < len(all_parts)
    again, _ = assign_splits(fewer, frozen)
    assert again == {r["object_id"]: split_of[r["object_id"]] for r in fewer}


@pytest.mark.parametrize("seed", range(2))
def test_adding_parts_moves_nobody(all_parts, frozen, split_of, seed: int) -> None:
    """Parts that the file does not know come back to their groups, and nobody else moves."""
    chosen = np.random.default_rng(seed).random(len(all_parts)) < 0.05
    added = {record["object_id"] for record, new in zip(all_parts, chosen) if new}
    fewer = {part: row for part, row in frozen.items() if part not in added}
    again, _ = assign_splits(all_parts, fewer)
    assert {p: again[p] for p in fewer} == {p: split_of[p] for p in fewer}
    check_no_leak([r for r in all_parts if again[r["object_id"]] != LEFT_OUT], again)


def test_order_of_records_does_not_matter(all_parts, frozen, split_of) -> None:
    assert assign_splits(all_parts[::-1], frozen)[0] == split_of


def test_an_unknown_part_joins_the_group_it_is_linked_with() -> None:
    frozen = {"1": FrozenPart("dev_test", "1", "aa")}
    known = part("1", "1", "aa")
    by_base, by_text = part("1b", "1", "bb"), part("7", "7", "cc", description="THING 222")
    split, group = assign_splits([known, by_base, by_text], frozen)
    assert split == {"1": "dev_test", "1b": "dev_test", "7": "dev_test"}
    assert set(group.values()) == {"1"}


def test_an_unknown_part_between_splits_is_left_out() -> None:
    frozen = {"1": FrozenPart("dev_test", "1", "aa"), "2": FrozenPart("train", "2", "bb")}
    known = [part("1", "1", "aa"), part("2", "2", "bb", description="other")]
    bridge = part("3", "1", "bb", description="bridge")
    split, _ = assign_splits([*known, bridge], frozen)
    assert split == {"1": "dev_test", "2": "train", "3": LEFT_OUT}


def test_an_unknown_part_without_links_goes_where_its_hash_says() -> None:
    shares = {f"base:{n}": group_share(f"base:{n}") for n in range(200)}
    for group, share in shares.items():
        base = group.removeprefix("base:")
        name = part(f"{base}x", base, f"g{base}", description=f"unlike {chr(97 + int(base) % 26)}")
        split = assign_splits([name], {})[0][f"{base}x"]
        if share < 0.11:
            assert split == "dev_test"
        elif share > 0.34:
            assert split == "train"


def test_another_geometry_than_the_file_has_is_refused(all_parts, frozen) -> None:
    other = {**all_parts[0], "geometry": "0" * 64}
    with pytest.raises(DataError, match=all_parts[0]["object_id"]):
        assign_splits([other], frozen)


def test_leak_is_noticed(all_parts, split_of) -> None:
    crossed = dict(split_of)
    by_base = defaultdict(list)
    for record in all_parts:
        by_base[record["base_id"]].append(record["object_id"])
    first, second = next(ids for ids in by_base.values() if len(ids) > 1)[:2]
    crossed[first], crossed[second] = "train", "dev_test"
    with pytest.raises(DataError, match="leaks"):
        check_no_leak(all_parts, crossed)
