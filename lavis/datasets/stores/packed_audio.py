"""Clips of a whole data set in one memory-mapped array: int16, one after the other.

audio.npy           int16 [M], samples times 32767
audio_offsets.npy   int64 [n+1], clip i has the samples offsets[i]:offsets[i+1]
audio_ids.json      the n ids
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from lavis.common.errors import DataError
from lavis.common.text_files import read_json
from lavis.datasets.manifest import write_json

AUDIO_NAME, OFFSETS_NAME, IDS_NAME = "audio.npy", "audio_offsets.npy", "audio_ids.json"
_STEPS = 32767


def write_audio(folder: Path, clips: Iterable[tuple[str, np.ndarray]]) -> int:
    """Write (id, float [T] in [-1,1]) and return the number of clips."""
    ids, lengths, samples = [], [0], []
    for object_id, clip in clips:
        ids.append(object_id)
        samples.append(np.rint(clip * _STEPS).astype(np.int16))
        lengths.append(len(clip))
    np.save(folder / AUDIO_NAME, np.concatenate(samples) if samples else np.empty(0, np.int16))
    np.save(folder / OFFSETS_NAME, np.cumsum(lengths, dtype=np.int64))
    write_json(folder / IDS_NAME, ids)
    return len(ids)


class PackedAudio:
    """Read packed clips. Safe to fork and to pickle: a copy opens the files again.

    Raises:
        DataError: the files are damaged.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        try:
            self.samples = np.load(self.folder / AUDIO_NAME, mmap_mode="r", allow_pickle=False)
            self.offsets = np.load(self.folder / OFFSETS_NAME, allow_pickle=False)
            ids = read_json(self.folder / IDS_NAME)
            if len(ids) != len(self.offsets) - 1 or self.offsets[-1] != len(self.samples):
                raise ValueError(f"{len(ids)} ids, {len(self.offsets)} offsets")
        except (OSError, ValueError, TypeError) as error:
            what, fix = "packed sounds cannot be read", "delete the folder and prepare it again"
            raise DataError(what, where=str(folder), got=str(error), fix=fix) from error
        self.row_of = {str(object_id): row for row, object_id in enumerate(ids)}

    def __len__(self) -> int:
        return len(self.row_of)

    def load(self, object_id: str) -> np.ndarray | None:
        """Return float32 [T] in [-1,1]; None for an object without a sound."""
        row = self.row_of.get(object_id)
        if row is None:
            return None
        start, end = self.offsets[row], self.offsets[row + 1]
        return self.samples[start:end] * np.float32(1 / _STEPS)

    def __getstate__(self) -> dict[str, Path]:
        return {"folder": self.folder}

    def __setstate__(self, state: dict[str, Path]) -> None:
        self.__init__(state["folder"])  # type: ignore[misc]
