"""A small prepared folder of pictures and sounds, as the commands leave it."""

from __future__ import annotations

import importlib
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from lavis.datasets.download_scripts.media.files import write_items
from lavis.datasets.download_scripts.media.items import Item, fitted_png
from lavis.datasets.manifest import write_manifest

THINGS = ("cat", "dog", "car", "tree", "house", "ball", "fish", "bird", "shoe", "lamp", "book")


def png(value: int, size: tuple[int, int] = (8, 4)) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", size, (value, 0, 0)).save(content, format="PNG")
    return content.getvalue()


def items(with_audio: bool = True) -> Iterator[Item]:
    """Yield forty items; every other one has a sound, the last ones are of a held-out class."""
    for number in range(40):
        label = f"{THINGS[number % 11]} of {THINGS[number // 11]}"
        category = "music" if number >= 36 else ("animal", "thing")[number % 2]
        tone = np.sin(np.arange(800 + number) / 5).astype(np.float32) / 2
        audio = tone if with_audio and number % 2 == 0 else None
        yield Item(f"i{number}", (label,), category, "package", fitted_png(png(number)), audio)


def write_media(folder: Path, family: str) -> Path:
    """Write a folder that the source of a family takes for prepared."""
    module = importlib.import_module(f"lavis.datasets.download_scripts.prepare_{family}")
    described = getattr(module, family.upper())
    folder.mkdir(parents=True)
    counts = write_items(folder, items(), family, described.version, ("music",))
    write_manifest(folder, parameters=described.parameters(None), counts=counts)
    return folder
