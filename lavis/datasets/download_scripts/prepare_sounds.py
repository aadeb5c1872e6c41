"""Prepare the built-in sounds with names: presets of a General MIDI soundfont, two seconds each.

    python -m lavis.datasets.download_scripts.prepare_sounds
    CPU-sized: python -m lavis.datasets.download_scripts.prepare_sounds --limit 40 --out /tmp/s

The package (120 MB) is downloaded into `packages` beside the target. Rendering needs tinysoundfont
(requirements-media.txt).
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from lavis.datasets.download_scripts.media import soundfont
from lavis.datasets.download_scripts.media.items import Item
from lavis.datasets.download_scripts.media.prepare import Family, run_command

_ATTRIBUTION = """# Attribution of the sounds

Fluid (R3) General MIDI SoundFont 3.1, Copyright (c) 2000-2002, 2008 Frank Wen, Copyright (c) 2008
Toby Smithe, with the contributors that its README names; MIT; packaged by Debian
(fluid-soundfont-gm). Notes are rendered with tinysoundfont (MIT).

Changes made here: single notes of two seconds, mono at 16 kHz; names are spelt out.
"""


def _items(paths: Sequence[Path], work: Path, dropped: Counter[str]) -> list[Iterator[Item]]:
    return [soundfont.sound_items(paths[0], work, dropped)]


SOUNDS = Family("sounds", (soundfont.PACKAGE,), _items, ("ethnic", "percussive"), _ATTRIBUTION)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; see the module docstring."""
    return run_command(SOUNDS, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
