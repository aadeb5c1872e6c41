"""Fluid's General MIDI soundfont: named presets of recordings, rendered as single notes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lavis.common.errors import DataError, DependencyError
from lavis.datasets.download_scripts.archives import archive_files
from lavis.datasets.download_scripts.media.items import Item
from lavis.datasets.download_scripts.packages import Package
from lavis.datasets.fields.audio import RATE, checked_audio

PACKAGE = Package(
    *("debian", "fluid-soundfont-gm", "3.1-5.3"),
    "6f531493ac4e4d9772fd96b2488ea1790af81c196135fbdd25997da0781fc60e",
    *(120, "MIT (Frank Wen)"),
)
# General MIDI's sixteen families of eight programs each, and the drum kits of bank 128.
FAMILIES = (
    *("piano", "chromatic percussion", "organ", "guitar", "bass", "strings", "ensemble", "brass"),
    *("reed", "pipe", "synth lead", "synth pad", "synth effects", "ethnic", "percussive"),
    "sound effects",
)
_DRUMS, _DRUM_BANK = "drum kit", 128
NOTES = (48, 60, 67, 72)  # C3, C4, G4, C5; of a drum kit four different drums
_VELOCITY, _HELD, _SECONDS = 100, 1.5, 2.0
# Names that the soundfont cuts or joins, and the words that they mean.
_CORRECTED = {"accordian": "accordion", "bagpipe": "bagpipes", "drawbarorgan": "drawbar organ"}


def sound_items(path: Path, work: Path, dropped: Counter[str]) -> Iterator[Item]:
    """Yield two seconds of every preset at four pitches.

    Args:
        path: of the package.
        work: folder for the unpacked soundfont, 148 MB.
        dropped: gets the number left out per reason.

    Raises:
        DependencyError: tinysoundfont is not installed.
    """
    synth, font = _open(path, work)
    for bank in range(_DRUM_BANK + 1):
        for program in range(128):
            name = synth.sfpreset_name(font, bank, program)
            if not name:
                continue
            for note in NOTES:
                key = f"sound_{bank:03d}_{program:03d}_{note}"
                try:
                    audio = checked_audio(render(synth, font, bank, program, note), RATE, key)
                except DataError:
                    dropped["sounds that are silent"] += 1
                    continue
                family = _DRUMS if bank == _DRUM_BANK else FAMILIES[program // 8]
                label = preset_label(name, bank)
                captions = (label, f"{label}, {family}")
                yield Item(key, captions, family, PACKAGE.name, audio=audio)


def preset_label(name: str, bank: int) -> str:
    """Return the name in lower case, without the number of a variant."""
    plain = re.sub(r"\s+\d$", "", name.strip().lower())
    plain = _CORRECTED.get(plain, plain)
    return f"{plain} {_DRUMS}".replace("kit drum kit", _DRUMS) if bank == _DRUM_BANK else plain


def _open(path: Path, work: Path) -> tuple[Any, int]:
    try:
        import tinysoundfont
    except ImportError as error:
        fix = "pip install --no-deps -r requirements-media.txt"
        raise DependencyError("sounds need tinysoundfont", fix=fix) from error
    target = work / "font.sf2"
    for _, content in archive_files(path, lambda name: name.endswith(".sf2")):
        target.write_bytes(content)
    synth = tinysoundfont.Synth(samplerate=RATE, gain=0)
    return synth, synth.sfload(str(target))


def render(synth: Any, font: int, bank: int, program: int, note: int) -> np.ndarray:
    """Return one note, held for a second and a half: float32 [T], mono."""
    synth.sounds_off(0)
    synth.generate(RATE // 10)  # what still sounds of the note before
    synth.program_select(0, font, bank, program, bank == _DRUM_BANK)
    synth.noteon(0, note, _VELOCITY)
    held = bytes(synth.generate(int(_HELD * RATE)))  # of float32, stereo
    synth.noteoff(0, note)
    rest = bytes(synth.generate(int((_SECONDS - _HELD) * RATE)))
    return np.frombuffer(held + rest, np.float32).reshape(-1, 2).mean(axis=1)
