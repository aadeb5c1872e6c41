"""The rule of splits that the built-in data share: a hash of an item's group decides.

An item's split depends on its group alone: adding items moves no other item.
"""

from __future__ import annotations

from lavis.datasets.download_scripts.bricks_text import stable_hash

SPLITS = ("train", "val", "test", "held_out")
_THRESHOLDS = (("test", 0.2), ("val", 0.32))


def hashed_split(family: str, version: int, group: str) -> str:
    """Return test, val or train for a group: 20, 12 and 68 of 100.

    Args:
        family, version: of the data; another version draws anew.
        group: what must not be divided.
    """
    share = stable_hash(f"{family}-v{version}:{group}") / 2**64
    return next((split for split, end in _THRESHOLDS if share < end), "train")
