"""Classes: theme and wearer categories are merged by rule."""

from __future__ import annotations

from collections import Counter

import pytest

from lavis.datasets.download_scripts.bricks_classes import (
    HELD_OUT,
    SEEN,
    class_of,
    names_held_out,
)


@pytest.mark.parametrize(
    ("description", "category", "expected"),
    [
        ("Brick 2 x 4", "Brick", "brick"),
        ("Technic Brick 1 x 2 with Hole", "Technic", "brick"),
        ("Technic Gear 8 Tooth", "Technic", "technic"),
        ("Technic Axle with Wheel", "Technic", "technic"),
        ("Minifig Hat Cone", "Minifig Headwear", "headwear"),
        ("Figure Friends Hips", "Figure", "figure"),
        ("Car Base 4 x 10", "Car", "vehicle"),
        ("Winch 2 x 4 x 2 Body", "Winch", "winch"),
    ],
)
def test_class_of_a_part(description: str, category: str, expected: str) -> None:
    assert class_of(description, category) == expected


def test_listed_classes_are_those_of_fifteen_distinct_parts_or_more(all_parts) -> None:
    distinct = {part["geometry"]: part for part in all_parts}.values()
    counts = Counter(class_of(p["description"], p["ldraw_category"]) for p in distinct)
    large = {name for name, count in counts.items() if count >= 15}
    assert large == {*SEEN, *HELD_OUT}


@pytest.mark.parametrize("text", ["Plant Flower", "wall with Fences", "Brick with ROCK top"])
def test_held_out_classes_are_found_in_texts(text: str) -> None:
    assert names_held_out(text)


@pytest.mark.parametrize("text", ["Rocket", "Planet", "Rack 1 x 20", "Duplo Brick"])
def test_other_words_are_not_taken_for_held_out_classes(text: str) -> None:
    assert not names_held_out(text)
