"""Classes of the furniture, by the head noun of a model's name.

Those of rooms (lavis/datasets/download_scripts/rooms/classes.py), and those that no room contains.
Objects of held-out classes are in no other split, so zero-shot classification can be measured.
"""

from __future__ import annotations

import re

from lavis.datasets.download_scripts.rooms import classes as rooms

# The first pattern that matches a whole name in lower case decides, after the rules of rooms.
_RULES: tuple[tuple[str, str], ...] = (
    ("person", r"(holding |sitting |lying down )?(male|female|boy|girl)|mannequin (fe)?male"),
    ("tree", r".*\btree|acacia|copper beech|cypress|.*\bpine\b.*|poplar|.*\bmaple"),
    ("tree", r"peach blossom"),
    ("hedge", r"(high )?hedge|bush"),
    ("car", r"chevrolet|concept sedan.*|ford focus|peugeot.*|renault.*|seat leon|smart car"),
    ("car", r"suv|van|vw .*"),
    ("truck", r"truck|bus|city bus|fork lift"),
    ("motorbike", r"motorbike|scooter|yamaha.*"),
    ("bicycle", r"bicycle|bike"),
    ("socket", r".*\b(plug|socket)"),
    ("switch", r".*\bswitch"),
    ("street light", r"street (lamp|light)|park light|porch light|outdoor lamp|classic lamppost"),
    (
        "light fixture",
        r"(ceiling|pendant|chandelier) lamp|hanging light|fluorescent .*|track lights",
    ),
    ("light fixture", r"wall (spotlight|lamp artwork)"),
    (
        "clothes",
        r"jacket|skirt|trousers|short|suit|dress|(hanging|folded) clothes|slippers|hat|cap",
    ),
    ("shoes", r"bootie|mocassin|sneakers|woman shoes"),
    ("towel", r"towel"),
    ("bench", r".*\bbench"),
    ("railing", r".*\brailing|fence"),
    ("tool", r"tool|hammer|saw|screwdriver|drill|cutting pliers|tape measure|shovel|broom|grinder"),
    ("cutlery", r"fork|knife|kitchen knife|spoon|knife stand"),
    ("phone", r".*\bphone|apple iphone|intercom.*|entry .*"),
    ("swimming pool", r".*\bpool|jacuzzi"),
    ("road marking", r"arrow .*|parking slot.*|pedestrian crossing"),
    ("water heater", r".*\bwater heater|boiler|furnace"),
    ("umbrella", r"umbrella"),
    ("camera", r".*\bcamera|cctv"),
    ("horse", r"horse|deer"),
)
_PATTERNS = [(label, re.compile(pattern)) for label, pattern in _RULES]

HELD_OUT = frozenset({*rooms.HELD_OUT, "bicycle", "camera", "horse", "umbrella"})


def class_of(name: str) -> str | None:
    """Return the class of a model by its name; None: it has none."""
    lowered = name.strip().lower()
    known = rooms.class_of(name)
    if known is not None:
        return known
    return next((label for label, pattern in _PATTERNS if pattern.fullmatch(lowered)), None)
