"""Fluent emoji in 3D (pictures) with the labels and tags of emojibase."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lavis.common.strict_json import parse_json
from lavis.datasets.download_scripts.archives import archive_files
from lavis.datasets.download_scripts.media.items import Item, fitted_png
from lavis.datasets.download_scripts.packages import Package
from lavis.datasets.readers.files import DAMAGE

PICTURES = Package(
    *("npm", "@lobehub/fluent-emoji-3d", "1.1.0"),
    "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
    *(16, "MIT (Microsoft Fluent Emoji)"),
)
LABELS = Package(
    *("npm", "emojibase-data", "17.0.0"),
    "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a",
    *(7, "MIT (Miles Johnson)"),
)
_DATA, _NAMES = "package/en/data.json", "package/en/messages.json"
_TAGS = 6  # named in a caption


def emoji_items(pictures: Path, labels: Path, dropped: Counter[str]) -> Iterator[Item]:
    """Yield the pictures that have a label; skin tones are left out.

    Args:
        pictures, labels: files of the two packages.
        dropped: gets the number left out per reason.
    """
    known = _labels(labels)
    for name, content in archive_files(pictures, lambda n: n.endswith(".webp")):
        code = Path(name).stem
        facts = known.get(_plain(code))
        if facts is None:
            dropped["emoji without a label"] += 1
            continue
        try:
            picture = fitted_png(content)
        except DAMAGE:
            dropped["emoji: damaged"] += 1
            continue
        label, tags = str(facts["label"]), [str(tag) for tag in facts.get("tags", [])]
        further = [tag for tag in tags if tag not in label][:_TAGS]
        captions = (label, ", ".join([label, *further])) if further else (label,)
        yield Item(f"emoji_{code}", captions, facts["subgroup"], PICTURES.name, picture)


def _labels(path: Path) -> dict[str, Mapping[str, Any]]:
    """Return {code without variation selectors: label, tags, name of the subgroup}."""
    files = dict(archive_files(path, lambda name: name in (_DATA, _NAMES)))
    subgroups = {s["order"]: s["key"] for s in parse_json(files[_NAMES].decode())["subgroups"]}
    return {
        _plain(entry["hexcode"]): {**entry, "subgroup": subgroups[entry["subgroup"]]}
        for entry in parse_json(files[_DATA].decode())
        if entry.get("subgroup") in subgroups
    }


def _plain(code: str) -> str:
    return "-".join(part for part in code.lower().split("-") if part != "fe0f")
