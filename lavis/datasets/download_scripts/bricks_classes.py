"""Classes of the bricks: LDraw's categories, merged where they follow a product line or a wearer.

The rule, in this order:

1. Categories that differ only in who wears or uses a part are one class (`_MERGED`).
2. A category that names a product line ("Technic", "Duplo") describes no shape. Such a part
   belongs to the first form that its description names before "with" or "for" ("Technic Brick
   1 x 2" is a brick), and to the line's own class where it names none ("Technic Gear 8 Tooth").
3. A class of fewer than 15 objects is no class: its objects have no label and no category question.

`HELD_OUT` are classes that no training text names; zero-shot classification is scored on them. They
were chosen for words that other descriptions rarely use, and for groups (bricks_groups.py) of a few
parts.
"""

from __future__ import annotations

import re

_MERGED = {
    "Minifig Accessory": "accessory",
    "Figure Accessory": "accessory",
    "Constraction Accessory": "accessory",
    "Minifig Headwear": "headwear",
    "Minifig Hipwear": "clothing",
    "Minifig Neckwear": "clothing",
    "Minifig Footwear": "clothing",
    "Minifig": "figure",
    "Figure": "figure",
    "Car": "vehicle",
    "Vehicle": "vehicle",
    "Tractor": "vehicle",
    "Trailer": "vehicle",
    "Tipper": "vehicle",
    "Monorail": "train",
    "Train": "train",
    "Sheet Plastic": "sheet",
    "Sheet Fabric": "sheet",
    "Sheet Cardboard": "sheet",
}
_PRODUCT_LINES = (
    *("Technic", "Electric", "Duplo", "Modulex", "Scala", "Znap"),
    *("Belville", "Homemaker", "Clikits", "Constraction"),
)
SEEN = (
    *("accessory", "animal", "arch", "arm", "bar", "baseplate", "brick", "clothing"),
    *("constraction", "container", "cylinder", "dish", "door", "duplo", "electric", "figure"),
    *("glass", "headwear", "hinge", "hose", "magnet", "panel", "plate", "rack", "sheet", "slope"),
    *("support", "tail", "technic", "tile", "train", "turntable", "tyre", "vehicle", "wedge"),
    *("wheel", "window", "windscreen", "wing", "znap"),
)
HELD_OUT = (
    *("boat", "bracket", "cone", "crane", "fence", "flag", "ladder", "plane", "plant"),
    *("propeller", "roadsign", "rock"),
)
_FORMS = {name.capitalize() for name in (*SEEN, *HELD_OUT)} - set(_PRODUCT_LINES)
_WORD = re.compile(r"[A-Za-z]+")


def class_of(description: str, ldraw_category: str) -> str:
    """Return the class of a part, in lower case; it may be none of `SEEN` and `HELD_OUT`.

    Args:
        description: cleaned, as LDraw wrote it.
        ldraw_category: LDraw's category.
    """
    if ldraw_category in _MERGED:
        return _MERGED[ldraw_category]
    if ldraw_category in _PRODUCT_LINES:
        for word in _WORD.findall(re.split(r"\b(?:with|for)\b", description, maxsplit=1)[0]):
            if word in _FORMS:
                return word.lower()
    return ldraw_category.lower()


def names_held_out(text: str) -> bool:
    """Return whether a text names a held-out class, in singular or plural."""
    return _HELD_OUT_WORD.search(text) is not None


_HELD_OUT_WORD = re.compile(rf"\b(?:{'|'.join(HELD_OUT)})(?:s|es)?\b", re.IGNORECASE)
