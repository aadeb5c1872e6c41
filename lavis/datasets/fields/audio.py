"""Sounds of an object: mono float32 in [-1,1] at one declared rate.

Files are WAV (scipy), .npy of float samples, or what libsndfile reads (OGG, FLAC, MP3; optional).
Channels are averaged, another rate is resampled. A clip that is silent (no sample above 0.001) or
shorter than 0.05 s is refused. Clips of different length are padded in a batch: `audio_mask`.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lavis.common.errors import DataError, DependencyError
from lavis.common.files import file_below
from lavis.datasets.datasets.annotations import Entry
from lavis.datasets.readers.files import DAMAGE
from lavis.datasets.samples import Sample

RATE = 16000
SILENCE = 1e-3
MIN_SECONDS = 0.05
MAX_BYTES = 1 << 28


def checked_audio(samples: np.ndarray, rate: int, where: str, wanted: int = RATE) -> np.ndarray:
    """Return a clip in the form of the module docstring.

    Args:
        samples: [T] or [T,C]; integers are scaled by their type, floats are clipped to [-1,1].
        rate: samples per second.
        where: for messages.
        wanted: the declared rate.

    Raises:
        DataError: no numbers, NaN, silence, or too short a clip.
    """
    if samples.dtype.kind not in "fiu" or samples.ndim not in (1, 2) or rate < 1:
        raise _unusable(where, f"{samples.dtype} {samples.shape} at {rate} Hz")
    mono = _unit(samples)
    mono = mono if mono.ndim == 1 else mono.mean(axis=1)
    if len(mono) < MIN_SECONDS * rate:
        raise _unusable(where, f"{len(mono) / rate:.3f} s")
    if not np.isfinite(mono).all() or np.abs(mono).max() <= SILENCE:
        raise _unusable(where, "silence" if np.isfinite(mono).all() else "NaN or infinity")
    if rate != wanted:
        from scipy.signal import resample_poly  # slow to import

        common = int(np.gcd(rate, wanted))
        mono = resample_poly(mono, wanted // common, rate // common)
    return np.clip(mono, -1.0, 1.0).astype(np.float32)


def _unit(samples: np.ndarray) -> np.ndarray:
    """Return samples as floats: integers by the range of their type, bytes about 128."""
    if samples.dtype.kind == "f":
        return samples.astype(np.float64)
    if samples.dtype == np.uint8:
        return (samples.astype(np.float64) - 128) / 128
    return samples / -float(np.iinfo(samples.dtype).min or -np.iinfo(samples.dtype).max)


def decode_audio(content: bytes, where: str, wanted: int = RATE) -> np.ndarray:
    """Return the clip of a file's bytes: float32 [T].

    Raises:
        DataError: damage, or see `checked_audio`.
        DependencyError: the format needs soundfile, which is not installed.
    """
    if len(content) > MAX_BYTES:
        raise _unusable(where, f"{len(content):,} bytes")
    try:
        if content.startswith(b"\x93NUMPY"):
            return checked_audio(np.load(io.BytesIO(content), allow_pickle=False), wanted, where)
        samples, rate = _decoded(content, where)
    except DAMAGE as error:
        raise _unusable(where, repr(error)) from error
    return checked_audio(samples, rate, where, wanted)


def _decoded(content: bytes, where: str) -> tuple[np.ndarray, int]:
    if content.startswith(b"RIFF"):
        from scipy.io import wavfile

        rate, samples = wavfile.read(io.BytesIO(content))
        return samples, int(rate)
    try:
        import soundfile
    except ImportError as error:
        what, fix = (
            "a sound file needs soundfile",
            "pip install --no-deps -r requirements-media.txt",
        )
        raise DependencyError(what, where=where, fix=fix) from error
    samples, rate = soundfile.read(io.BytesIO(content), dtype="float32")
    return samples, int(rate)


@dataclass(frozen=True)
class AudioLoader:
    """Load the sound of an object: audio float32 [T] and audio_mask bool [T].

    An object without a sound has no field and is False in the batch's mask.

    Attributes:
        read: returns the clip of an object, or None without one (`files`, a store's `load`).
        seconds: longer clips are cut to this; None keeps them.
        draws: cut at a drawn place (training); else at the start.
        rate: of the clips, samples per second.
    """

    read: Callable[[str], np.ndarray | None]
    seconds: float | None = None
    draws: bool = False
    rate: int = RATE
    stream = "audio:"

    def load(self, record: Entry, rng: np.random.Generator) -> Sample:
        """Return the clip and its mask."""
        clip = self.read(record["object_id"])
        if clip is None:
            return {}
        length = len(clip) if self.seconds is None else round(self.seconds * self.rate)
        spare = max(len(clip) - length, 0)
        start = int(rng.integers(spare + 1)) if self.draws and spare else 0
        audio = torch.from_numpy(np.array(clip[start : start + length], np.float32))
        return {"audio": audio, "audio_mask": torch.ones(len(audio), dtype=torch.bool)}


def audio_files(
    folder: Path, pattern: str = "{object_id}.wav", rate: int = RATE
) -> Callable[[str], np.ndarray | None]:
    """Return a reader of one file per object; a missing file is an object without a sound.

    Args:
        folder: where the files are.
        pattern: path below it with {object_id}.
        rate: to bring the clips to.
    """

    def read(object_id: str) -> np.ndarray | None:
        path = file_below(folder, pattern.format(object_id=object_id))
        return decode_audio(path.read_bytes(), str(path), rate) if path.is_file() else None

    return read


def _unusable(where: str, got: str) -> DataError:
    return DataError(
        "a sound cannot be used",
        where=where,
        got=got,
        expected=f"samples [T] or [T,C] above {SILENCE}, at least {MIN_SECONDS} s",
        fix="repair the file or remove it: an object may be without a sound",
    )
