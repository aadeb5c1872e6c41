"""Tux Paint's stamps: pictures with a sentence, some with a real sound."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from lavis.common.errors import DataError
from lavis.common.text_files import decode
from lavis.datasets.download_scripts.archives import archive_files
from lavis.datasets.download_scripts.media.items import Item, fitted_png
from lavis.datasets.download_scripts.packages import Package
from lavis.datasets.fields.audio import decode_audio
from lavis.datasets.readers.files import DAMAGE

PACKAGE = Package(
    *("debian", "tuxpaint-stamps-default", "2022.06.04-1"),
    "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
    *(161, "GPL-2"),
)
_ROOT = "usr/share/tuxpaint/stamps/"
_SOUNDS = (".ogg", ".wav")


def stamp_items(path: Path, dropped: Counter[str]) -> Iterator[Item]:
    """Yield the stamps with a picture in PNG; one drawn in SVG alone is left out.

    Args:
        path: of the package.
        dropped: gets the number left out per reason.
    """
    files = dict(archive_files(path, _is_wanted))
    for name in sorted(name for name in files if name.endswith(".txt")):
        base = name.removesuffix(".txt")
        caption = decode(files[name]).split("\n", 1)[0].strip()
        if not caption or f"{base}.png" not in files:
            dropped["stamps without a sentence or a PNG"] += 1
            continue
        try:
            picture = fitted_png(files[f"{base}.png"])
        except DAMAGE:
            dropped["stamps: damaged picture"] += 1
            continue
        sound = next((files[base + s] for s in _SOUNDS if base + s in files), None)
        audio = None
        if sound is not None:
            try:
                audio = decode_audio(sound, base)
            except DataError:
                dropped["stamps: sound that is silent, short or damaged"] += 1
        below = PurePosixPath(base.removeprefix(_ROOT))
        category = below.parent.name.replace("_", " ")
        key = f"stamp_{below.as_posix().replace('/', '.')}"
        yield Item(key, (caption,), category, PACKAGE.name, picture, audio)


def _is_wanted(name: str) -> bool:
    """Return whether a file is a picture, its sentences, or its sound; spoken names are neither.

    `*_desc.ogg` reads the sentence aloud, and the sounds of symbols are letters and numbers.
    """
    if not name.startswith(_ROOT):
        return False
    is_spoken = "_desc" in name or name.startswith(f"{_ROOT}symbols/")
    return name.endswith((".png", ".txt")) or (name.endswith(_SOUNDS) and not is_spoken)
