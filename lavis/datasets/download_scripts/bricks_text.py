"""The text of the brick data set: parts that stay, descriptions, synthetic colours, captions.

LDraw marks a description by its first character: "~" an internal or moved part, "=" an alias,
"_" a coloured shortcut, "|" a third-party part. Ids carry a print as `p##`, an assembly as `c##`.
"""

from __future__ import annotations

import hashlib
import re

from lavis.datasets.scene_text import with_article

# Each name is a solid colour of the official LDraw palette (LDConfig), chosen far apart in RGB.
COLORS: dict[str, tuple[int, int, int]] = {
    "black": (0x05, 0x13, 0x1D),
    "blue": (0x00, 0x55, 0xBF),
    "brown": (0x58, 0x2A, 0x12),
    "green": (0x23, 0x78, 0x41),
    "grey": (0xA0, 0xA5, 0xA9),
    "orange": (0xFE, 0x8A, 0x18),
    "pink": (0xFC, 0x97, 0xAC),
    "purple": (0x81, 0x00, 0x7B),
    "red": (0xC9, 0x1A, 0x09),
    "turquoise": (0x00, 0x8F, 0x9B),
    "white": (0xFF, 0xFF, 0xFF),
    "yellow": (0xF2, 0xCD, 0x37),
}

# Colour words of LDraw descriptions: a "with …" feature that names one contradicts our colour.
COLOR_WORD = re.compile(
    r"\b(black|blue|brown|green|gr[ea]y|orange|pink|purple|red|turquoise|white|yellow|gold|silver|"
    r"copper|tan|lime|azure|magenta|lavender|violet|lilac|aqua|nougat|coral|sand|trans|transclear|"
    r"chrome|yellw|blk)\b",
    re.IGNORECASE,
)

_DROPPED_CATEGORIES = {
    "Moved": "moved",
    "Obsolete": "obsolete",
    "Sticker": "sticker",
    "Sticker Shortcut": "sticker",
}
_PRINT_SUFFIX = re.compile(r"p\w\w$")
_NOTE = re.compile(
    r"\((?:needs work|obsolete|outdated|shortcut|open file for usage guide)[^)]*\)|\[[^\]]*\]",
    re.IGNORECASE,
)


def stable_hash(text: str) -> int:
    """Return a 64-bit number of `text` that is the same in every process and on every machine."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest()[:8], "big")


def drop_reason(part_id: str, raw_description: str, category: str) -> str | None:
    """Return why a part is left out of the data set, or None when it stays."""
    if category in _DROPPED_CATEGORIES:
        return _DROPPED_CATEGORIES[category]
    if raw_description.startswith("~"):
        return "internal"
    if raw_description.startswith("="):
        return "alias"
    if "pattern" in raw_description.lower() or _PRINT_SUFFIX.search(part_id):
        return "printed"
    if not clean_description(raw_description):
        return "empty description"
    return None


def repair_encoding(text: str) -> str:
    """Undo UTF-8 that was read as Latin-1 ("ThÃ©oden" -> "Théoden"); other text is unchanged."""
    if text.isascii():
        return text
    try:
        return text.encode("latin-1").decode("utf-8")
    except (UnicodeEncodeError, UnicodeDecodeError):
        return text


def clean_description(raw_description: str) -> str:
    """Strip markers, library notes and repeated spaces; repair the encoding."""
    text = repair_encoding(raw_description).lstrip("~_=| ")
    return re.sub(r"\s+", " ", _NOTE.sub(" ", text)).strip(" ,")


def color_of(object_id: str) -> str:
    """Return the synthetic colour of an object, uniform over `COLORS` by a hash of its id."""
    names = sorted(COLORS)
    return names[stable_hash(f"color:{object_id}") % len(names)]


def colored_caption(color: str, description: str) -> str:
    """Return "a {colour} {description in lower case}"."""
    return f"{with_article(color)} {description.lower()}"


def natural_key(part_id: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key: digits by value, so that part 9 comes before part 10."""
    pieces = re.findall(r"\d+|\D+", part_id)
    return tuple((0, int(p), p) if p.isdigit() else (1, 0, p) for p in pieces)
