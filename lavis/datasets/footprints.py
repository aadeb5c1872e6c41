"""Footprints "a x b" from bounding boxes rounded to whole studs, and footprints in texts.

Only data whose unit is the stud have them: "120 x 60" of a table in metres is no rounded box.
"""

from __future__ import annotations

import re

import numpy as np

FOOTPRINT = re.compile(r"\b(\d+) x (\d+)\b")
UNIT = "stud"
GROUND = (0, 2)  # axes of the footprint; axis 1 is up


def rounded_sides(box: np.ndarray) -> tuple[int, int]:
    """Return the sides of the footprint of a box [3] in whole units, the shorter first."""
    short, long = sorted(max(1, round(float(box[axis]))) for axis in GROUND)
    return short, long


def footprint(box: np.ndarray) -> str:
    """Return the footprint of a box [3] as "2 x 4"."""
    short, long = rounded_sides(box)
    return f"{short} x {long}"


def with_own_size(text: str, box: np.ndarray) -> str:
    """Replace the first footprint of a text by that of a box; which side comes first is kept."""

    def replaced(match: re.Match[str]) -> str:
        short, long = rounded_sides(box)
        ascending = int(match.group(1)) <= int(match.group(2))
        return f"{short} x {long}" if ascending else f"{long} x {short}"

    return FOOTPRINT.sub(replaced, text, count=1)


def sides_in(text: str) -> tuple[int, int] | None:
    """Return the sides of the first footprint of a text, the shorter first; None without one."""
    match = FOOTPRINT.search(text)
    if match is None:
        return None
    short, long = sorted(int(side) for side in match.groups())
    return short, long
