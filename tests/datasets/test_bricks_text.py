"""Filtering, cleaning, colours and captions of the bricks."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from lavis.datasets.download_scripts.bricks_split import base_id
from lavis.datasets.download_scripts.bricks_text import (
    COLORS,
    clean_description,
    color_of,
    colored_caption,
    drop_reason,
    natural_key,
    repair_encoding,
)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("Brick  1 x  1", "Brick 1 x 1"),
        ("~|  Circuit Cubes Cable", "Circuit Cubes Cable"),
        ("Technic Panel (Needs Work)", "Technic Panel"),
        ("Panel [71/72] 1 x 2", "Panel 1 x 2"),
        ("Window 1 x 2 (Complete)", "Window 1 x 2 (Complete)"),
        ("Technic Gear 4 Knob 45Â°", "Technic Gear 4 Knob 45°"),
    ],
)
def test_descriptions_are_cleaned(raw: str, clean: str) -> None:
    assert clean_description(raw) == clean


def test_encoding_is_repaired_once() -> None:
    assert repair_encoding("ThÃ©oden") == "Théoden"
    assert repair_encoding("Théoden") == "Théoden"


@pytest.mark.parametrize(
    ("part_id", "text", "category", "reason"),
    [
        ("3001", "Brick  2 x  4", "Brick", None),
        ("3001p01", "Brick  2 x  4 with Star", "Brick", "printed"),
        ("3005-m", 'Brick  1 x  1 with Blue "M" Pattern', "Brick", "printed"),
        ("30009", "=Panel  1 x  2", "Panel", "alias"),
        ("53791", "~Electric Case", "Electric", "internal"),
        ("9341", "~_Minifig (Obsolete)", "Obsolete", "obsolete"),
        ("1234", "Moved", "Moved", "moved"),
        ("t1032c01", "| Vengit S-Brick", "Electric", None),
        ("77", "  ", "Brick", "empty description"),
    ],
)
def test_reason_for_leaving_a_part_out(
    part_id: str, text: str, category: str, reason: str | None
) -> None:
    assert drop_reason(part_id, text, category) == reason


@pytest.mark.parametrize(
    ("part_id", "base"),
    [
        ("3626cp30", "3626"),
        ("973p13", "973"),
        ("u9105p01c02", "u9105"),
        ("3004", "3004"),
        ("3005-m", "3005"),
        ("79717p01-f1", "79717"),
    ],
)
def test_base_id_strips_variants(part_id: str, base: str) -> None:
    assert base_id(part_id) == base


def test_article_follows_the_colour() -> None:
    assert colored_caption("orange", "Brick 1 x 2") == "an orange brick 1 x 2"
    assert colored_caption("red", "Brick 1 x 2") == "a red brick 1 x 2"


def test_colours_are_uniform_over_objects(all_parts) -> None:
    counts = Counter(part["color"] for part in all_parts)
    expected = len(all_parts) / len(COLORS)
    # chi-square, 11 degrees of freedom: 31.3 is the 0.1% point
    assert sum((n - expected) ** 2 / expected for n in counts.values()) < 31.3
    assert all(part["color"] == color_of(part["object_id"]) for part in all_parts[:50])


def test_colours_lie_apart() -> None:
    values = np.array(list(COLORS.values()), dtype=float)
    distance = np.linalg.norm(values[:, None] - values[None], axis=-1)
    assert distance[~np.eye(len(values), dtype=bool)].min() > 60


def test_natural_order() -> None:
    assert sorted(["10", "9", "u2", "9a"], key=natural_key) == ["9", "9a", "10", "u2"]


def test_expected_number_of_parts_stays(all_parts) -> None:
    assert len(all_parts) == 8279
    assert len({part["geometry"] for part in all_parts}) == 7433
    assert not any("pattern" in part["description"].lower() for part in all_parts)
    assert all(part["description"][0] not in "~_=| " for part in all_parts)
