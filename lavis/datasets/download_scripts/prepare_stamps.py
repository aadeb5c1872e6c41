"""Prepare Tux Paint's stamps: pictures with a sentence, some with a real sound.

    python -m lavis.datasets.download_scripts.prepare_stamps
    CPU-sized: python -m lavis.datasets.download_scripts.prepare_stamps --limit 40 --out /tmp/s

The package (161 MB) is under the GPL 2: the prepared folder is, too, and is not part of this
repository. Sounds need soundfile (requirements-media.txt).
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from lavis.datasets.download_scripts.media import stamps
from lavis.datasets.download_scripts.media.items import Item
from lavis.datasets.download_scripts.media.prepare import Family, run_command

_ATTRIBUTION = """# Attribution of the stamps

Tux Paint stamps 2022.06.04 (tuxpaint.org), Copyright (c) 2002-2022 Bill Kendrick and contributors,
GPL-2; packaged by Debian (tuxpaint-stamps-default). Whoever passes this folder on does so under the
GPL 2; the source is Debian's source package of the same version.

Changes made here: pictures are scaled to 224 x 224 on white, sounds are mono at 16 kHz; stamps that
are drawn in SVG alone are left out.
"""


def _items(paths: Sequence[Path], work: Path, dropped: Counter[str]) -> list[Iterator[Item]]:
    return [stamps.stamp_items(paths[0], dropped)]


STAMPS = Family(
    "stamps", (stamps.PACKAGE,), _items, ("insects", "music", "vegetables"), _ATTRIBUTION
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; see the module docstring."""
    return run_command(STAMPS, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
