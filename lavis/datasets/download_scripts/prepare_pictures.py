"""Prepare the built-in pictures with labels: emoji in 3D and clip art.

    python -m lavis.datasets.download_scripts.prepare_pictures
    CPU-sized: python -m lavis.datasets.download_scripts.prepare_pictures --limit 40 --out /tmp/p

Packages of npm and Debian (154 MB) are downloaded into `packages` beside the target.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from lavis.datasets.download_scripts.media import clip_art, emoji
from lavis.datasets.download_scripts.media.items import Item
from lavis.datasets.download_scripts.media.prepare import Family, run_command

_ATTRIBUTION = """# Attribution of the pictures

- Emoji: Fluent Emoji, Copyright (c) Microsoft Corporation, MIT; packaged as
  @lobehub/fluent-emoji-3d 1.1.0 (LobeHub, MIT).
- Labels and tags of the emoji: emojibase-data 17.0.0, Copyright (c) Miles Johnson, MIT; after
  Unicode CLDR.
- Clip art: the Open Clip Art Library 0.18 (openclipart.org), public domain; packaged by Debian
  (openclipart-png).

Changes made here: pictures are scaled to 224 x 224 on white; captions are composed of labels, tags,
titles and folders; authors' names are taken out of file names.
"""


def _items(paths: Sequence[Path], work: Path, dropped: Counter[str]) -> list[Iterator[Item]]:
    pictures, labels, art = paths
    return [emoji.emoji_items(pictures, labels, dropped), clip_art.clip_art_items(art, dropped)]


PICTURES = Family(
    "pictures",
    (emoji.PICTURES, emoji.LABELS, clip_art.PACKAGE),
    _items,
    ("musical-instrument", "music", "food-vegetable", "vegetables", "transport-water", "ships"),
    _ATTRIBUTION,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; see the module docstring."""
    return run_command(PICTURES, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
